"""A model's analysis on the command line: the verdict first, then its evidence; reads well without colour."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from optagent.domain.alert import Alert, Finding
from optagent.domain.concept_drift import AdwinVerdict, ConceptDrift
from optagent.domain.diagnosis import Diagnosis, Remedy
from optagent.domain.drift import ColumnDrift, DriftCheck, DriftReport, DriftStatus, DriftTest, SeparabilityReport
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Window
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
)
from optagent.domain.quality import DataQuality
from optagent.domain.study import Interval

_SHOWN = 10
_CAUSES_SHOWN = 5
_DRIFT_HEADINGS = ("column", "weight", "status", "effect", "adj. p", "PSI", "missing", "mean / category")
_IN_SHORT = {DriftCheck.MISSING: "missing", DriftCheck.UNSEEN: "unseen"}
_CATEGORY_SHOWN = 20


def show_report(console: Console, report: ModelReport) -> None:
    """All that is known of a model's window, from the verdict to the notes; parts that are None are left out."""
    _show_answer(console, report)
    if report.performance is not None:
        _show_performance(console, report.performance)
    if report.estimated is not None:
        _show_estimated(console, report.estimated)
    if report.concept_drift is not None:
        _show_concept_drift(console, report.concept_drift)
    if report.drift is not None:
        _show_drift(console, report.drift)
    if report.separability is not None:
        _show_separability(console, report.separability)
    if report.attribution is not None:
        _show_attribution(console, report.attribution)
    if report.confidence is not None:
        _show_confidence(console, report.confidence)
    if report.latency is not None:
        _show_latency(console, report.latency)
    if report.business is not None and report.business.degradation:
        _head(console, "Business: means a row, against the window before")
        _changes(console, "before", [_change(one) for one in report.business.degradation])
    if report.performance is not None and report.performance.slices:
        _show_slices(console, report.performance)
    if report.quality is not None:
        _show_quality(console, report.quality)
    _show_findings(console, report.findings)
    if report.notes:
        _head(console, "Notes")
        _items(console, report.notes)


def show_alerts(console: Console, alerts: Sequence[Alert]) -> None:
    """Alerts as they come, one a row."""
    if not alerts:
        return _say(console, "No alerts.")
    rows = [
        [
            one.severity.upper(),
            "open" if one.resolved_at is None else f"resolved {_time(one.resolved_at)}",
            one.model_id,
            f"{one.kind}: {one.message}",
            _time(one.first_seen),
            _time(one.last_seen),
        ]
        for one in alerts
    ]
    _table(console, ("severity", "state", "model", "alert", "first seen", "last seen"), rows)


def _show_answer(console: Console, report: ModelReport) -> None:
    if report.error is not None:
        _say(console, f"ERROR: {report.error}", "bold red")
    if report.diagnosis is not None:
        _show_diagnosis(console, report.diagnosis)
    known = [
        f"model {report.model_id}" if report.model_id is not None else "",
        f"version {report.version}" if report.version is not None else "",
        f"{report.analysis_type} analysis" if report.analysis_type is not None else "",
        f"made {_time(report.created_at)}" if report.created_at is not None else "",
    ]
    if any(known):
        _say(console, ", ".join(part for part in known if part))
    if report.window is not None:
        _say(console, f"window    {_span(report.window)}{_sizes(_rows(report))}")
    if report.reference is not None:
        then = report.reference
        when = "rows without a time" if then.window is None else _span(then.window)
        _say(console, f"reference {when}{_sizes((then.rows, then.labelled))}")


def _show_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    _say(console, f"{diagnosis.verdict.upper()} (confidence: {diagnosis.confidence})", "bold")
    nothing = diagnosis.remedy is Remedy.NOTHING
    remedy = "nothing needs to be done" if nothing else str(diagnosis.remedy)
    later = f"; if that does not help: {', '.join(diagnosis.alternatives)}" if diagnosis.alternatives else ""
    _say(console, f"Remedy: {remedy}{later}")
    _items(console, diagnosis.reasons)
    if diagnosis.causes:
        _say(console, "Likely causes, the likeliest first:")
        _items(console, [f"{one.column} ({one.weight:.0%}): {one.reason}" for one in diagnosis.causes[:_CAUSES_SHOWN]])
        _more(console, len(diagnosis.causes), _CAUSES_SHOWN)
    console.print()


def _show_performance(console: Console, performance: Performance) -> None:
    levels = {one.interval.alpha for one in performance.metrics if one.interval is not None}
    sure = f"; intervals hold {1 - max(levels):.0%}" if levels else ""
    _head(console, f"Performance: {performance.labelled:,} of {performance.rows:,} rows have a label{sure}")
    compared = {one.name for one in performance.degradation}
    alone = [[one.name, "", _valued(one), "", one.reason] for one in performance.metrics if one.name not in compared]
    rows = [_change(one) for one in performance.degradation] + alone
    if rows:
        _changes(console, "reference", rows)


def _changes(console: Console, before: str, rows: Sequence[Sequence[str]]) -> None:
    _table(console, ("metric", before, "now", "change", ""), rows)


def _change(one: Degradation) -> list[str]:
    mark = "DEGRADED" if one.degraded else one.reason
    return [one.name, _number(one.reference.value), _valued(one.current), _drop(one), mark]


def _drop(one: Degradation) -> str:
    if one.drop is None:
        return "–"
    size = abs(one.drop.estimate)
    shown = _number(size) if one.current.bounded else f"{size:.1%}"
    return f"{shown} {'worse' if one.drop.estimate > 0 else 'better'}" if size else "none"


def _show_estimated(console: Console, estimated: EstimatedPerformance) -> None:
    trust = "trusted" if estimated.trusted else "NOT TO BE TRUSTED"
    _head(console, f"Estimated without labels, on {estimated.rows:,} rows: {trust}")
    if estimated.reason:
        _say(console, estimated.reason)
    if estimated.metrics:
        rows = [[one.name, _bounded(one.interval), _trust(one)] for one in estimated.metrics]
        _table(console, ("metric", "estimate", "trust"), rows)
    _say(console, estimated.caveat)


def _trust(one: EstimatedMetric) -> str:
    if not one.trusted:
        return f"no: {one.reason}" if one.reason else "no"
    if one.coverage is None or not one.coverage.windows:
        return "yes, not checked yet"
    return f"yes, held in {one.coverage.windows - one.coverage.missed} of {one.coverage.windows} past windows"


def _show_concept_drift(console: Console, found: ConceptDrift) -> None:
    _head(console, f"Concept drift: {found.state.upper() if found.detected else found.state}")
    if found.reason:
        _say(console, found.reason)
    if found.alarmed_at is not None:
        since = "" if found.changed_at is None else f", the loss has grown since about {_time(found.changed_at)}"
        _say(console, f"alarmed at {_time(found.alarmed_at)}{since}")
    if found.e_value is not None:
        needed = "" if found.threshold is None else f", an alarm needs {_number(found.threshold)}"
        every = "" if found.arl_rows is None else f" (a false one every {found.arl_rows:,.0f} labelled rows)"
        _say(console, f"e-value {_number(found.e_value)}{needed}{every}")
    if found.excess is not None:
        was = "" if found.reference_loss is None else f", {_number(found.reference_loss)} in the reference"
        _say(console, f"{found.loss}: {_bounded(found.excess, sign=True)} a row, {found.direction}{was}")
    if found.adwin is not None:
        _say(console, f"ADWIN: {_adwin(found.adwin)}")


def _adwin(verdict: AdwinVerdict) -> str:
    if not verdict.detected:
        return "no change"
    return f"{verdict.direction}{'' if verdict.at is None else f' at {_time(verdict.at)}'}"


def _show_drift(console: Console, drift: DriftReport) -> None:
    counts = f"{len(drift.drifted)} drifted, {len(drift.suspected)} suspected of {len(drift.features)} features"
    _head(console, f"Data drift: {drift.status}, score {_number(drift.score)}; {counts}")
    _say(console, f"{drift.rows_now:,} rows against {drift.rows_then:,}, false alarms {drift.level:.2g} a window")
    ranked = sorted(drift.features, key=lambda one: (-one.weight * one.effect, -one.effect, one.name))
    if ranked:
        _table(console, _DRIFT_HEADINGS, [_column(one) for one in ranked[:_SHOWN]])
    hidden = [one.name for one in ranked[_SHOWN:] if one.status in (DriftStatus.DRIFTED, DriftStatus.SUSPECTED)]
    some = f", of which drifted or suspected: {_names(hidden)}" if hidden else ", none of them drifted or suspected"
    _more(console, len(ranked), _SHOWN, some)
    if drift.predictions:
        _head(console, f"Prediction drift: {drift.prediction_status}, effect {_number(drift.prediction_score)}")
        _table(console, ("output", *_DRIFT_HEADINGS[2:]), [_without_weight(one) for one in drift.predictions[:_SHOWN]])
        _more(console, len(drift.predictions), _SHOWN)


def _column(one: ColumnDrift) -> list[str]:
    test = _gravest(one)
    where = f" ({_IN_SHORT[test.check]})" if test is not None and test.check in _IN_SHORT else ""
    return [
        one.name,
        f"{one.weight:.0%}",
        f"{one.status.upper() if one.status is DriftStatus.DRIFTED else one.status}{where}",
        f"{one.effect:.3f}",
        "–" if test is None else f"{_p_value(test):.2g}",
        _number(one.psi),
        f"{100 * one.then.missing:.3g}→{100 * one.now.missing:.3g}%",
        _moved(one),
    ]


def _without_weight(one: ColumnDrift) -> list[str]:
    name, _, *rest = _column(one)
    return [name, *rest]


def _gravest(one: ColumnDrift) -> DriftTest | None:
    """The test whose status and effect are the column's."""
    return next((test for test in one.tests if test.status is one.status and test.effect == one.effect), None)


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
    shown = name if len(name) <= _CATEGORY_SHOWN else f"{name[: _CATEGORY_SHOWN - 1]}…"
    return f"{shown}: {then:.0%} → {now:.0%}"


def _show_separability(console: Console, found: SeparabilityReport) -> None:
    auc = "" if found.auc is None else f", AUC {_bounded(found.auc)}"
    _head(console, f"All columns together: reference and current rows are {found.verdict}{auc}")
    if found.reason:
        _say(console, found.reason)
    if found.importances:
        _say(console, f"told apart by {_names(list(found.importances))}")


def _show_attribution(console: Console, shift: AttributionShift) -> None:
    state = "CHANGED" if shift.changed else "not known" if shift.ndcg is None else "as before"
    score = "" if shift.ndcg is None else f", nDCG {shift.ndcg:.3f} (changed below {shift.threshold:g})"
    _head(console, f"Importance: {state}{score}")
    if shift.reason:
        _say(console, shift.reason)
    known = {one.name: one for one in shift.features}
    shown = [known[name] for name in shift.movers if name in known]
    if shown:
        rows = [
            [
                one.name,
                f"{one.reference_share:.1%} → {one.current_share:.1%}",
                f"{one.reference_rank} → {one.current_rank}",
            ]
            for one in shown
        ]
        _table(console, ("moved most", "share", "rank"), rows)


def _show_confidence(console: Console, confidence: Confidence) -> None:
    _head(console, f"Confidence: rows are uncertain below {confidence.threshold:.0%}")
    pairs = (("reference", confidence.reference), ("now", confidence.current))
    rows = [_certainty(name, one) for name, one in pairs if one is not None]
    _table(console, ("", "rows", "uncertain", "entropy", "calibration error"), rows)
    if confidence.slices:
        _say(console, "slices with more uncertain rows than the rest:")
        _table(
            console,
            ("slice", "rows", "uncertain", "rest", "adj. p"),
            [
                [f"{s.column} = {s.value}", f"{s.rows:,}", f"{s.uncertain:.1%}", f"{s.rest:.1%}", f"{s.p_value:.2g}"]
                for s in confidence.slices[:_SHOWN]
            ],
        )
        _more(console, len(confidence.slices), _SHOWN)


def _certainty(name: str, one: Certainty) -> list[str]:
    error = one.calibration_error
    said = "–" if error is None else error.reason if error.interval is None else _bounded(error.interval)
    return [name, f"{one.rows:,}", "–" if one.uncertain is None else f"{one.uncertain:.1%}", _number(one.entropy), said]


def _show_latency(console: Console, latency: Latency) -> None:
    named = (("p50", latency.p50_ms), ("p95", latency.p95_ms), ("p99", latency.p99_ms), ("max", latency.max_ms))
    times = ", ".join(f"{name} {_number(value)} ms" for name, value in named if value is not None)
    counts = [f"{latency.rows:,} rows"]
    counts += [f"{latency.unknown:,} unknown"] if latency.unknown else []
    counts += [f"{latency.unusable:,} unusable"] if latency.unusable else []
    _head(console, f"Latency: {times or 'not known'}; {', '.join(counts)}")


def _show_slices(console: Console, performance: Performance) -> None:
    worse = [one for one in performance.slices if one.worse]
    worse.sort(key=lambda one: 0.0 if one.shortfall is None else -one.shortfall.estimate)
    _head(console, f"Slices: {len(worse) or 'none'} of {len(performance.slices)} worse than the rest")
    if worse:
        rows = [
            [
                f"{one.column} = {one.value}",
                one.metric.name,
                f"{one.metric.rows:,}",
                _valued(one.metric),
                _number(one.rest.value),
                "–" if one.p_value is None else f"{one.p_value:.2g}",
            ]
            for one in worse[:_SHOWN]
        ]
        _table(console, ("slice", "metric", "rows", "here", "rest", "adj. p"), rows)
        _more(console, len(worse), _SHOWN)


def _show_quality(console: Console, quality: DataQuality) -> None:
    found = {problem: count for problem, count in quality.problems.items() if count}
    sampled = "" if quality.sampled is None else f", {quality.sampled:,} of them looked at"
    _head(console, f"Data quality: {quality.rows:,} rows{sampled}; {'no problems' if not found else 'problems found'}")
    if found:
        of = max(1, quality.rows if quality.sampled is None else quality.sampled)
        by_count = sorted(found.items(), key=lambda item: -item[1])
        rows = [[str(problem), f"{count:,}", f"{count / of:.2g} a row"] for problem, count in by_count]
        _table(console, ("problem", "count", ""), rows)
    columns = sorted(quality.columns.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    columns = [(name, counts) for name, counts in columns if any(counts.values())]
    if columns:
        rows = [
            [name, ", ".join(f"{problem} {count:,}" for problem, count in counts.items() if count)]
            for name, counts in columns[:_SHOWN]
        ]
        _table(console, ("column", "problems"), rows)
        _more(console, len(columns), _SHOWN)


def _show_findings(console: Console, findings: Sequence[Finding]) -> None:
    if findings:
        _head(console, "Findings")
        rows = [
            [one.severity.upper(), str(one.kind), one.message]
            for one in sorted(findings, key=lambda one: -one.severity.rank)
        ]
        _table(console, ("severity", "kind", "finding"), rows)


def _rows(report: ModelReport) -> tuple[int, int | None] | None:
    """How many rows, and labelled ones, the window has: from the first part that knows."""
    for part in (report.quality, report.performance):
        if part is not None:
            return part.rows, part.labelled
    return None if report.drift is None else (report.drift.rows_now, None)


def _sizes(rows: tuple[int, int | None] | None) -> str:
    if rows is None:
        return ""
    return f": {rows[0]:,} rows" + ("" if rows[1] is None else f", {rows[1]:,} labelled")


def _valued(one: MetricValue) -> str:
    return "–" if one.interval is None else _bounded(one.interval)


def _bounded(interval: Interval, sign: bool = False) -> str:
    plus = "+" if sign and interval.estimate > 0 else ""
    return f"{plus}{_number(interval.estimate)} ({_number(interval.low)} to {_number(interval.high)})"


def _number(value: float | None) -> str:
    """Four digits; large numbers as people write them."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _time(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")
    except (OverflowError, ValueError, OSError):  # beyond the year 9999
        return f"{at:g} s"


def _span(window: Window) -> str:
    return f"{_time(window.start)} to {_time(window.end)}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _more(console: Console, total: int, shown: int, said: str = "") -> None:
    if total > shown:
        _say(console, f"and {total - shown} more{said}")


def _head(console: Console, title: str) -> None:
    console.print()
    _say(console, title, "bold")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(_plain(text, style), highlight=False)


def _items(console: Console, texts: Iterable[str]) -> None:
    grid = Table.grid(padding=(0, 1))
    for text in texts:
        grid.add_row(" -", _plain(text))
    console.print(grid, highlight=False)


def _table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table without borders, so that eight columns find room in a log; a last column that is empty is left out."""
    if not headings[-1] and not any(row[-1] for row in rows):
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    console.print(table, highlight=False)


def _plain(text: str, style: str = "") -> Text:
    """Names come from data: no markup is read from them, and no control character reaches the terminal."""
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text), style)
