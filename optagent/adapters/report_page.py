"""A model's analysis as one HTML page, which needs nothing from the network and no scripting but for its plots."""

import html
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from optagent.domain.alert import Finding
from optagent.domain.concept_drift import ConceptDrift
from optagent.domain.diagnosis import Cause, Diagnosis, Remedy, Verdict
from optagent.domain.drift import ColumnDrift, DriftReport, DriftStatus, DriftTest, SeparabilityReport
from optagent.domain.model_report import Business, ModelReport
from optagent.domain.performance import (
    AttributionShift,
    Certainty,
    Confidence,
    Degradation,
    EstimatedMetric,
    EstimatedPerformance,
    Latency,
    MetricValue,
    Performance,
    PerformancePoint,
)
from optagent.domain.quality import DataQuality
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest

_DRIFT_DRAWN = 30
_IMPORTANCE_DRAWN = 20
_ROWS_SHOWN = 100
_NAME_DRAWN = 40
_NOW, _THEN = "#2f7ed8", "#9a8f7a"
_STATUS = {  # colour, and a pattern for those who do not see it
    DriftStatus.DRIFTED: ("#d6453d", ""),
    DriftStatus.SUSPECTED: ("#e09a2b", "/"),
    DriftStatus.STABLE: ("#5b93c9", "."),
    DriftStatus.UNKNOWN: ("#8f8f8f", "x"),
}

# Nothing may be fetched, whatever a name in the data says.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8886; --soft: #8882; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem; }}
h1 {{ font-size: 1.5rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line); }}
table {{ border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: .5rem 0; }}
th, td {{ text-align: left; vertical-align: top; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line);
 max-width: 24rem; overflow-wrap: break-word; }}
tr.marked td {{ font-weight: 600; background: var(--soft); }}
.wide {{ overflow-x: auto; }}
.verdict {{ font-size: 1.2rem; font-weight: 600; padding: .6rem 1rem; background: var(--soft);
 border-left: .4rem solid #8f8f8f; }}
.good {{ border-color: #3c9a5f; }} .bad {{ border-color: #d6453d; }}
figure {{ margin: 1rem 0; }} figcaption {{ font-weight: 600; }}
.js-plotly-plot :is(.xaxislayer-above, .yaxislayer-above, .infolayer, .bars) text {{ fill: currentColor !important; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class _Plot:
    caption: str
    figure: go.Figure


_Part = str | _Plot
"""HTML whose texts are escaped, or something to draw."""


def draw_report(report: ModelReport, path: Path) -> Path:
    """Writes the page whole or not at all; InvalidRequest for a path that cannot be written."""
    path = Path(path)
    page = report_page(report)
    scratch = path.with_name(f".{uuid.uuid4().hex}.html")
    try:
        if not path.parent.is_dir():
            raise InvalidRequest(f"{path}: there is no folder {str(path.parent)!r}")
        if path.is_dir():
            raise InvalidRequest(f"{path}: is a folder, a file is needed")
        scratch.write_text(page, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        scratch.unlink(missing_ok=True)
    return path


def report_page(report: ModelReport) -> str:
    """The page; 5 MB, most of it plotly's script, or a few kB where there is nothing to draw."""
    parts: list[str] = []
    drawn = 0
    for part in _parts(report):
        if isinstance(part, str):
            parts.append(part)
            continue
        figure = part.figure.to_html(
            full_html=False,
            include_plotlyjs=drawn == 0,
            div_id=f"figure-{drawn}",
            config={"responsive": True, "displayModeBar": False},
        )
        parts.append(f"<figure><figcaption>{_text(part.caption)}</figcaption>\n{figure}</figure>")
        drawn += 1
    if drawn:
        parts.insert(0, "<noscript><p>The plots need scripting, the rest does not.</p></noscript>")
    title = f"{report.model_id or 'a model'}: {report.analysis_type or 'full'} analysis"
    return _PAGE.format(title=_text(title), body="\n".join(parts))


def _parts(report: ModelReport) -> Iterator[_Part]:
    yield from _answer(report)
    for title, part, shown in _sections(report):
        if part is not None:
            yield f"<section>\n<h2>{_text(title)}</h2>"
            yield from shown(part)
            yield "</section>"


def _sections(report: ModelReport) -> Iterator[tuple[str, object, Callable[..., Iterator[_Part]]]]:
    performance, drift = report.performance, report.drift
    alarm = report.concept_drift
    slices = None if performance is None or not performance.slices else performance
    yield "Likely causes", None if report.diagnosis is None else report.diagnosis.causes or None, _causes
    yield "Findings", report.findings or None, _findings
    yield "Performance", performance, lambda found: _performance(found, alarm)
    yield "Slices", slices, _slices
    yield "Estimated performance, before labels", report.estimated, _estimated
    yield "Concept drift", alarm, _concept_drift
    yield "Data drift", drift, _drift
    yield "Prediction drift", drift if drift is not None and drift.predictions else None, _prediction_drift
    yield "All columns together", report.separability, _separability
    yield "Importance", report.attribution, _attribution
    yield "Confidence", report.confidence, _confidence
    yield "Latency", report.latency, _latency
    yield "Business", report.business, _business
    yield "Data quality", report.quality, _quality
    yield "Notes", report.notes or None, lambda notes: iter([_list(notes)])


def _answer(report: ModelReport) -> Iterator[_Part]:
    if report.error is not None:
        yield _paragraph(f"Error: {report.error}", "verdict bad")
    if report.diagnosis is not None:
        yield from _diagnosis(report.diagnosis)
    facts: list[tuple[str, str]] = []
    if report.version is not None:
        facts.append(("version", report.version))
    if report.window is not None:
        facts.append(("window", f"{_time(report.window.start)} to {_time(report.window.end)}"))
    for part in (report.quality, report.performance):
        if part is not None:
            facts.append(("rows", f"{part.rows:,}, {part.labelled:,} with a label"))
            break
    if report.reference is not None:
        then = report.reference
        when = "" if then.window is None else f", {_time(then.window.start)} to {_time(then.window.end)}"
        facts.append(("reference", f"{then.rows:,} rows, {then.labelled:,} with a label{when}"))
    if report.created_at is not None:
        facts.append(("made", _time(report.created_at)))
    if facts:
        yield _facts(facts)


def _diagnosis(diagnosis: Diagnosis) -> Iterator[_Part]:
    unsure = diagnosis.verdict is Verdict.INSUFFICIENT
    mood = "" if unsure else " good" if diagnosis.verdict is Verdict.STABLE else " bad"
    yield _paragraph(f"Verdict: {diagnosis.verdict} (confidence: {diagnosis.confidence})", f"verdict{mood}")
    nothing = diagnosis.remedy is Remedy.NOTHING
    later = f"; if that does not help: {', '.join(diagnosis.alternatives)}" if diagnosis.alternatives else ""
    yield _paragraph(f"Remedy: {'nothing needs to be done' if nothing else diagnosis.remedy}{later}.")
    yield _list(diagnosis.reasons)


def _causes(causes: Sequence[Cause]) -> Iterator[_Part]:
    rows = [
        (
            one.column,
            _share(one.weight),
            f"{one.effect:.3f}",
            _share(one.importance),
            _number(one.excess_loss),
            one.reason,
        )
        for one in causes
    ]
    yield _table(("column", "share of the blame", "effect", "importance", "more lost a row", "why"), rows)


def _findings(findings: Sequence[Finding]) -> Iterator[_Part]:
    worst_first = sorted(findings, key=lambda one: -one.severity.rank)
    yield _table(("severity", "kind", "finding"), [(one.severity, one.kind, one.message) for one in worst_first])


def _performance(performance: Performance, alarm: ConceptDrift | None) -> Iterator[_Part]:
    yield _paragraph(f"{performance.labelled:,} of {performance.rows:,} rows have a label.")
    changes = performance.degradation
    rows = [_change(one) for one in changes]
    compared = {one.name for one in changes}
    rows += [(o.name, "–", _value(o), "–", "–", o.reason) for o in performance.metrics if o.name not in compared]
    yield from _changes("reference", rows, changes)
    known = {one.name: one.reference.value for one in changes}
    figure = _over_time(performance.over_time, "reference", known, alarm)
    if figure is not None:
        yield _Plot("Metrics over time, each with its interval", figure)


def _business(business: Business) -> Iterator[_Part]:
    yield from _changes("window before", [_change(one) for one in business.degradation], business.degradation)
    known = {one.name: one.reference.value for one in business.degradation}
    figure = _over_time(business.over_time, "window before", known, None)
    if figure is not None:
        yield _Plot("Means a row over time, each with its interval", figure)


def _changes(before: str, rows: Sequence[tuple[str, ...]], changes: Sequence[Degradation]) -> Iterator[_Part]:
    if rows:
        headings = ("metric", before, "now", "change (above 0 is worse)", "degraded", "why not known")
        yield _table(headings, rows, {index for index, one in enumerate(changes) if one.degraded})


def _change(one: Degradation) -> tuple[str, ...]:
    degraded = f"{'yes' if one.degraded else 'no'} (threshold {one.threshold:g})"
    change = "–" if one.drop is None else _bounded(one.drop, _number if one.current.bounded else _share)
    return one.name, _value(one.reference), _value(one.current), change, degraded, one.reason


def _slices(performance: Performance) -> Iterator[_Part]:
    worse = [one for one in performance.slices if one.worse]
    yield _paragraph(f"{len(worse) or 'None'} of {len(performance.slices)} worse than the rest.")
    ranked = sorted(performance.slices, key=lambda one: (not one.worse, 1.0 if one.p_value is None else one.p_value))
    rows = [
        (
            one.column,
            one.value,
            f"{one.metric.rows:,}",
            one.metric.name,
            _value(one.metric),
            _value(one.rest),
            _p(one.p_value),
        )
        for one in ranked[:_ROWS_SHOWN]
    ]
    marked = {index for index, one in enumerate(ranked[:_ROWS_SHOWN]) if one.worse}
    yield _table(("column", "value", "rows", "metric", "here", "rest", "adjusted p"), rows, marked)
    yield _more(len(ranked), _ROWS_SHOWN)


def _estimated(estimated: EstimatedPerformance) -> Iterator[_Part]:
    trust = "to be trusted" if estimated.trusted else "not to be trusted"
    reason = f": {estimated.reason}" if estimated.reason else ""
    yield _paragraph(f"Of {estimated.rows:,} rows, {trust}{reason}.")
    if estimated.metrics:
        rows = [(one.name, _bounded(one.interval), *_trust(one)) for one in estimated.metrics]
        yield _table(("metric", "estimate", "trusted", "past estimates that held", "why not"), rows)
    yield _paragraph(estimated.caveat)


def _trust(one: EstimatedMetric) -> tuple[str, str, str]:
    held = one.coverage
    said = "not checked yet" if held is None or not held.windows else f"{held.windows - held.missed} of {held.windows}"
    return "yes" if one.trusted else "no", said, one.reason


def _concept_drift(found: ConceptDrift) -> Iterator[_Part]:
    yield _paragraph(f"{found.state.capitalize()}{f': {found.reason}' if found.reason else ''}.")
    adwin = None
    if found.adwin is not None:
        at = "" if found.adwin.at is None else f" at {_time(found.adwin.at)}"
        adwin = f"{found.adwin.direction}{at}" if found.adwin.detected else "no change"
    every = None if found.arl_rows is None else f"{found.arl_rows:,.0f} labelled rows"
    facts = [
        ("alarmed at", None if found.alarmed_at is None else _time(found.alarmed_at)),
        ("most likely start", None if found.changed_at is None else _time(found.changed_at)),
        ("e-value after the last row", None if found.e_value is None else _number(found.e_value)),
        ("e-value of an alarm", None if found.threshold is None else _number(found.threshold)),
        ("false alarms, one every", every),
        ("loss", found.loss or None),
        ("loss in the reference", None if found.reference_loss is None else _number(found.reference_loss)),
        ("more lost a row", None if found.excess is None else f"{_bounded(found.excess)}, {found.direction}"),
        ("ADWIN", adwin),
        ("labelled rows", f"{found.rows:,}, {found.reference_rows:,} in the reference"),
    ]
    yield _facts([(name, value) for name, value in facts if value is not None])


def _drift(drift: DriftReport) -> Iterator[_Part]:
    yield _paragraph(
        f"{drift.status.capitalize()}, score {_number(drift.score)}: {len(drift.drifted)} drifted and "
        f"{len(drift.suspected)} suspected of {len(drift.features)} features. {drift.rows_now:,} rows against "
        f"{drift.rows_then:,}, a false alarm in {drift.level:.2g} of all windows."
    )
    ranked = sorted(drift.features, key=lambda one: (-one.weight * one.effect, -one.effect, one.name))
    if ranked:
        yield _Plot("Drift by feature, ordered by effect and weight", _drift_bars(ranked[:_DRIFT_DRAWN]))
        yield _columns(ranked)


def _prediction_drift(drift: DriftReport) -> Iterator[_Part]:
    yield _paragraph(f"{drift.prediction_status.capitalize()}, effect {_number(drift.prediction_score)}.")
    yield _columns(drift.predictions, weighed=False)


def _columns(columns: Sequence[ColumnDrift], weighed: bool = True) -> str:
    headings = ["column", "weight", "status", "effect", "of its", "adjusted p", "PSI", "Wasserstein", "missing"]
    shown = columns[:_ROWS_SHOWN]
    rows = [_column(one) for one in shown]
    if not weighed:
        del headings[1]
        for row in rows:
            del row[1]
    marked = {index for index, one in enumerate(shown) if one.status is DriftStatus.DRIFTED}
    return _table([*headings, "mean or category"], rows, marked) + _more(len(columns), _ROWS_SHOWN)


def _column(one: ColumnDrift) -> list[str]:
    test = next((test for test in one.tests if test.status is one.status and test.effect == one.effect), None)
    return [
        one.name,
        _share(one.weight),
        one.status,
        f"{one.effect:.3f}",
        "–" if test is None else test.check,
        "–" if test is None else _p(_p_value(test)),
        _number(one.psi),
        _number(one.wasserstein),
        f"{100 * one.then.missing:.3g}→{100 * one.now.missing:.3g}%",
        _moved(one),
    ]


def _p_value(test: DriftTest) -> float:
    """What the level was held against: that of two windows for what has drifted."""
    both = test.adjusted_persistent_p_value
    return both if test.status is DriftStatus.DRIFTED and both is not None else test.adjusted_p_value


def _moved(one: ColumnDrift) -> str:
    """The mean then and now, or the share of the category that moved most."""
    if one.then.mean is not None or one.now.mean is not None:
        return f"{_number(one.then.mean)} → {_number(one.now.mean)}"
    shares = {name: (share, one.now.shares[name]) for name, share in one.then.shares.items() if name in one.now.shares}
    if not shares:
        return "–"
    name, (then, now) = max(shares.items(), key=lambda item: abs(item[1][1] - item[1][0]))
    return f"{name}: {_share(then)} → {_share(now)}"


def _separability(found: SeparabilityReport) -> Iterator[_Part]:
    auc = "" if found.auc is None else f", AUC {_bounded(found.auc)}; .5 means alike"
    reason = f": {found.reason}" if found.reason else ""
    yield _paragraph(f"Reference and current rows are {found.verdict}{auc}{reason}.")
    if found.importances:
        rows = [(name, _number(value)) for name, value in list(found.importances.items())[:_IMPORTANCE_DRAWN]]
        yield _table(("column", "fall of the AUC without it"), rows)


def _attribution(shift: AttributionShift) -> Iterator[_Part]:
    if shift.ndcg is None:
        yield _paragraph(f"Not known: {shift.reason}.")
    else:
        state = "Changed" if shift.changed else "As before"
        yield _paragraph(f"{state}: nDCG {shift.ndcg:.3f}, changed below {shift.threshold:g}.")
    if not shift.features:
        return
    yield _Plot("Share of each feature in what the model looks at", _importance_bars(shift))
    movers = [one for name in shift.movers for one in shift.features if one.name == name]
    rows = [
        (
            one.name,
            _share(one.reference_share),
            _share(one.current_share),
            f"{one.reference_rank} → {one.current_rank}",
        )
        for one in movers
    ]
    if rows:
        yield _table(("moved most", "share then", "share now", "rank"), rows)


def _confidence(confidence: Confidence) -> Iterator[_Part]:
    yield _paragraph(f"A row is uncertain where the most probable class has less than {confidence.threshold:.0%}.")
    sides = [("reference", confidence.reference), ("now", confidence.current)]
    rows = [_certainty(name, one) for name, one in sides if one is not None]
    yield _table(("rows of", "rows", "labelled", "uncertain", "entropy", "calibration error"), rows)
    curves = [(name, one) for name, one in sides if one is not None and one.curve]
    if curves:
        yield _Plot("Calibration: how often what was predicted came true", _calibration(curves))
    if confidence.slices:
        yield _paragraph("Slices with more uncertain rows than the rest:")
        slices = [
            (one.column, one.value, f"{one.rows:,}", _share(one.uncertain), _share(one.rest), _p(one.p_value))
            for one in confidence.slices[:_ROWS_SHOWN]
        ]
        yield _table(("column", "value", "rows", "uncertain", "rest", "adjusted p"), slices)


def _certainty(name: str, one: Certainty) -> tuple[str, ...]:
    error = one.calibration_error
    said = "–" if error is None else error.reason or _value(error)
    return name, f"{one.rows:,}", f"{one.labelled:,}", _share(one.uncertain), _number(one.entropy), said


def _latency(latency: Latency) -> Iterator[_Part]:
    times = (latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms)
    row = (*(_number(time) for time in times), f"{latency.rows:,}", f"{latency.unknown:,}", f"{latency.unusable:,}")
    yield _table(("median, ms", "p95, ms", "p99, ms", "longest, ms", "rows", "unknown", "unusable"), [row])


def _quality(quality: DataQuality) -> Iterator[_Part]:
    sampled = "" if quality.sampled is None else f", of which {quality.sampled:,} were looked at"
    problems = sorted((item for item in quality.problems.items() if item[1]), key=lambda item: -item[1])
    yield _paragraph(f"{quality.rows:,} rows{sampled}{'' if problems else '; no problems'}.")
    if problems:
        yield _table(("problem", "count"), [(problem, f"{count:,}") for problem, count in problems])
    by_column = [(name, {kind: n for kind, n in counts.items() if n}) for name, counts in quality.columns.items()]
    columns = sorted((item for item in by_column if item[1]), key=lambda item: (-sum(item[1].values()), item[0]))
    if columns:
        rows = [(name, ", ".join(f"{kind} {n:,}" for kind, n in counts.items())) for name, counts in columns]
        yield _table(("column", "problems"), rows[:_ROWS_SHOWN])
        yield _more(len(rows), _ROWS_SHOWN)


def _over_time(
    points: Sequence[PerformancePoint], before: str, known: Mapping[str, float | None], alarm: ConceptDrift | None
) -> go.Figure | None:
    """A row for each metric: its course, its `known` value before, the alarms; None where none has a value."""
    names = list(dict.fromkeys(one.name for point in points for one in point.metrics if one.interval is not None))
    if not names:
        return None
    height = 90 + 170 * len(names)
    figure = make_subplots(len(names), 1, shared_xaxes=True, vertical_spacing=46 / height if len(names) > 1 else 0)
    span = [_instant(points[0].window.start), _instant(points[-1].window.end)]
    for row, name in enumerate(names, start=1):
        figure.add_trace(_course(points, name, first=row == 1), row, 1)
        then = known.get(name)
        if then is not None:
            line = go.Scatter(
                x=span,
                y=[then, then],
                mode="lines",
                name=before,
                legendgroup=before,
                showlegend=row == 1,
                line={"color": _THEN, "dash": "dash"},
            )
            figure.add_trace(line, row, 1)
        figure.update_yaxes(title_text=_label(name), row=row, col=1)
    for at, said, dash in _marks(alarm):
        figure.add_shape(
            type="line",
            x0=_instant(at),
            x1=_instant(at),
            y0=0,
            y1=1,
            yref="paper",
            line={"color": "#d6453d", "dash": dash},
            name=said,
            showlegend=True,
        )
    figure.update_xaxes(title_text="time, UTC", row=len(names), col=1)
    return _styled(figure, height)


def _course(points: Sequence[PerformancePoint], name: str, first: bool) -> go.Scatter:
    found = [next((one.interval for one in point.metrics if one.name == name), None) for point in points]
    return go.Scatter(
        x=[_instant((point.window.start + point.window.end) / 2) for point in points],
        y=[None if one is None else one.estimate for one in found],
        error_y={
            "symmetric": False,
            "array": [None if one is None else one.high - one.estimate for one in found],
            "arrayminus": [None if one is None else one.estimate - one.low for one in found],
            "thickness": 1,
            "width": 3,
        },
        mode="lines+markers",
        name="now",
        legendgroup="now",
        showlegend=first,
        line={"color": _NOW},
    )


def _marks(found: ConceptDrift | None) -> Iterator[tuple[float, str, str]]:
    if found is None:
        return
    if found.alarmed_at is not None:
        yield found.alarmed_at, "alarm of concept drift", "solid"
    if found.changed_at is not None:
        yield found.changed_at, "its most likely start", "dot"


def _drift_bars(columns: Sequence[ColumnDrift]) -> go.Figure:
    figure = go.Figure()
    for status, (colour, pattern) in _STATUS.items():
        places = [place for place, one in enumerate(columns) if one.status is status]
        if places:
            figure.add_bar(
                x=[columns[place].effect for place in places],
                y=places,
                orientation="h",
                name=status,
                marker={"color": colour, "pattern": {"shape": pattern}},
                text=[f"weight {columns[place].weight:.0%}" for place in places],
                textposition="outside",
                cliponaxis=False,
                hovertemplate="effect %{x:.3f}, %{text}",
            )
    figure.update_xaxes(title_text="effect", range=[0, 1.15 * max(0.1, *(one.effect for one in columns))])
    return _named(figure, [one.name for one in columns], 24)


def _importance_bars(shift: AttributionShift) -> go.Figure:
    largest = sorted(shift.features, key=lambda one: -max(one.reference_share, one.current_share))
    shown = sorted(largest[:_IMPORTANCE_DRAWN], key=lambda one: one.current_rank)
    figure = go.Figure()
    for name, colour, shares in (
        ("then", _THEN, [one.reference_share for one in shown]),
        ("now", _NOW, [one.current_share for one in shown]),
    ):
        figure.add_bar(
            x=shares,
            y=list(range(len(shown))),
            orientation="h",
            name=name,
            marker={"color": colour},
            hovertemplate="%{x:.1%}",
        )
    figure.update_xaxes(title_text="share", tickformat=".0%")
    return _named(figure, [one.name for one in shown], 34)


def _calibration(curves: Sequence[tuple[str, Certainty]]) -> go.Figure:
    figure = go.Figure()
    for name, one in curves:
        figure.add_scatter(
            x=[point.predicted for point in one.curve],
            y=[point.observed for point in one.curve],
            text=[f"{point.rows:,} rows" for point in one.curve],
            mode="lines+markers",
            name=name,
            line={"color": _NOW if name == "now" else _THEN},
            hovertemplate="predicted %{x:.3f}, came true %{y:.3f}, %{text}",
        )
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="perfect", line={"color": "#8f8f8f", "dash": "dot"}, hoverinfo="skip"
    )
    figure.update_xaxes(title_text="mean probability", range=[0, 1])
    figure.update_yaxes(title_text="share that came true", range=[0, 1.02])
    return _styled(figure, 420)


def _named(figure: go.Figure, names: Sequence[str], each: int) -> go.Figure:
    """Horizontal bars under their names, from above; by place, since names may look like numbers or be alike."""
    ticks = {"tickvals": list(range(len(names))), "ticktext": [_label(name) for name in names]}
    figure.update_yaxes(**ticks, ticklabelstandoff=6, range=[len(names) - 0.5, -0.5])
    return _styled(figure, 110 + each * len(names)).update_yaxes(showgrid=False, zeroline=False)


def _styled(figure: go.Figure, height: int) -> go.Figure:
    """See-through and in a grey that reads on white and on black; the page sets the texts to its own colour."""
    figure.update_layout(
        template="none",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "color": "#7b7b7b", "size": 13},
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
    )
    figure.update_xaxes(gridcolor="#8883", zerolinecolor="#8886", automargin=True)
    return figure.update_yaxes(gridcolor="#8883", zerolinecolor="#8886", automargin=True)


def _label(name: str) -> str:
    """A name in a plot, where plotly would read tags and entities."""
    return _text(name if len(name) <= _NAME_DRAWN else f"{name[: _NAME_DRAWN - 1]}…")


def _facts(pairs: Sequence[tuple[str, str]]) -> str:
    rows = [f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in pairs]
    return '<div class="wide"><table>\n' + "\n".join(rows) + "\n</table></div>"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], marked: set[int] | None = None) -> str:
    """A last column that is empty is left out; `marked` are the places of rows to stand out."""
    if rows and not any(row[-1] for row in rows):
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    head = "".join(f'<th scope="col">{_text(heading)}</th>' for heading in headings)
    body = "\n".join(
        ('<tr class="marked">' if index in (marked or ()) else "<tr>")
        + "".join(f"<td>{_text(cell)}</td>" for cell in row)
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _list(texts: Sequence[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{_text(text)}</li>" for text in texts) + "\n</ul>"


def _paragraph(text: str, kind: str = "") -> str:
    start = f'<p class="{kind}">' if kind else "<p>"
    return f"{start}{_text(text)}</p>"


def _more(total: int, shown: int) -> str:
    return _paragraph(f"And {total - shown:,} more.") if total > shown else ""


def _text(value: str) -> str:
    """Whatever comes from data goes through here: no tags, and nothing that UTF-8 cannot hold."""
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def _value(one: MetricValue) -> str:
    return "–" if one.interval is None else _bounded(one.interval)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _bounded(interval: Interval, shown: Callable[[float], str] = _number) -> str:
    return f"{shown(interval.estimate)} ({shown(interval.low)} to {shown(interval.high)})"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _time(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")
    except (OverflowError, ValueError, OSError):  # beyond the year 9999
        return f"{at:g} s"


def _instant(at: float) -> str | float:
    """A time as plotly draws it: it knows no zones, so that of UTC without one."""
    try:
        return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()
    except (OverflowError, ValueError, OSError):
        return at
