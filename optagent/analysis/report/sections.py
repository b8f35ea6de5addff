"""Report sections: a model's analysis in one wording for every view, the gravest first."""

from collections.abc import Callable, Mapping

from optagent.analysis.report.drift import (
    concept_drift_section,
    data_drift_section,
    prediction_drift_section,
    separability_section,
)
from optagent.analysis.report.labels import labels_section
from optagent.analysis.report.parts import Columns, Drawing, Items, Part, Room, Section, TableColumn, table
from optagent.analysis.report.performance import business_section, estimate_section, performance_section, slices_section
from optagent.analysis.report.texts import UNKNOWN, format_interval, format_number, format_p_value, format_share
from optagent.domain.alert import Finding
from optagent.domain.model_report import ModelReport
from optagent.domain.performance import Certainty, FeatureShift, UncertainSlice
from optagent.domain.quality import RowProblem


def report_sections(report: ModelReport, room: Room) -> list[Section]:
    """The sections below the verdict; parts of the report that are None are left out."""
    return [section for of in _SECTIONS if (section := of(report, room)) is not None]


def _findings_section(report: ModelReport, room: Room) -> Section | None:
    if not report.findings:
        return None
    columns: Columns[Finding] = (
        TableColumn("severity", lambda one: room.emphasize(one.severity)),
        TableColumn("kind", lambda one: str(one.kind)),
        TableColumn("finding", lambda one: one.message),
    )
    worst_first = sorted(report.findings, key=lambda one: -one.severity.rank)
    return Section("Findings", parts=table(worst_first, columns, room))


def _importance_section(report: ModelReport, room: Room) -> Section | None:
    shift = report.attribution
    if shift is None:
        return None
    state = room.emphasize("changed") if shift.changed else "not known" if shift.ndcg is None else "as before"
    score = "" if shift.ndcg is None else f", nDCG {shift.ndcg:.3f} (changed below {shift.threshold:g})"
    by_name = {one.name: one for one in shift.features}
    columns: Columns[FeatureShift] = (
        TableColumn("moved most", lambda one: one.name),
        TableColumn("share", lambda one: f"{format_share(one.reference_share)} → {format_share(one.current_share)}"),
        TableColumn("rank", lambda one: f"{one.reference_rank} → {one.current_rank}"),
    )
    movers = [by_name[name] for name in shift.movers if name in by_name]
    plots = (Drawing.IMPORTANCE,) if shift.features else ()
    return Section("Importance", f"{state}{score}", shift.reason, (*plots, *table(movers, columns, room)))


def _confidence_section(report: ModelReport, room: Room) -> Section | None:
    confidence = report.confidence
    if confidence is None:
        return None
    sides = [("reference", confidence.reference), ("now", confidence.current)]
    columns: Columns[tuple[str, Certainty]] = (
        TableColumn("rows of", lambda side: side[0]),
        TableColumn("rows", lambda side: f"{side[1].rows:,}"),
        TableColumn("labelled", lambda side: f"{side[1].labelled:,}", Room.WIDE),
        TableColumn("uncertain", lambda side: format_share(side[1].uncertain)),
        TableColumn("entropy", lambda side: format_number(side[1].entropy)),
        TableColumn("calibration error", lambda side: _calibration_error(side[1])),
    )
    of_slices: Columns[UncertainSlice] = (
        TableColumn("slice", lambda one: f"{one.column} = {one.value}"),
        TableColumn("rows", lambda one: f"{one.rows:,}"),
        TableColumn("uncertain", lambda one: format_share(one.uncertain)),
        TableColumn("rest", lambda one: format_share(one.rest)),
        TableColumn("adj. p", lambda one: format_p_value(one.p_value)),
    )
    certainties = table([(name, one) for name, one in sides if one is not None], columns, room)
    parts: tuple[Part, ...] = (*certainties, Drawing.CALIBRATION)
    if confidence.slices:
        caption = "slices with more uncertain rows than the rest:"
        parts = (*parts, caption, *table(confidence.slices, of_slices, room))
    headline = f"rows are uncertain where the most probable class has less than {confidence.threshold:.0%}"
    return Section("Confidence", headline, parts=parts)


def _calibration_error(one: Certainty) -> str:
    error = one.calibration_error
    if error is None:
        return UNKNOWN
    return error.reason if error.interval is None else format_interval(error.interval)


def _latency_section(report: ModelReport, room: Room) -> Section | None:
    latency = report.latency
    if latency is None:
        return None
    quantiles = (("p50", latency.p50_ms), ("p95", latency.p95_ms), ("p99", latency.p99_ms), ("max", latency.max_ms))
    times = ", ".join(f"{name} {format_number(value)} ms" for name, value in quantiles if value is not None)
    counts = [f"{latency.rows:,} rows"]
    counts += [f"{latency.unknown:,} unknown"] if latency.unknown else []
    counts += [f"{latency.unusable:,} unusable"] if latency.unusable else []
    return Section("Latency", f"{times or 'not known'}; {', '.join(counts)}")


def _quality_section(report: ModelReport, room: Room) -> Section | None:
    quality = report.quality
    if quality is None:
        return None
    looked_at = max(1, quality.rows if quality.sampled is None else quality.sampled)
    problems = sorted(_above_zero(quality.problems).items(), key=lambda item: -item[1])
    columns = [(name, counts) for name, all_of in quality.columns.items() if (counts := _above_zero(all_of))]
    columns.sort(key=lambda item: (-sum(item[1].values()), item[0]))
    by_problem: Columns[tuple[RowProblem, int]] = (
        TableColumn("problem", lambda one: str(one[0])),
        TableColumn("count", lambda one: f"{one[1]:,}"),
        TableColumn("on average", lambda one: f"{one[1] / looked_at:.2g} a row"),
    )
    by_column: Columns[tuple[str, Mapping[RowProblem, int]]] = (
        TableColumn("column", lambda one: one[0]),
        TableColumn("problems", lambda one: _counts_text(one[1])),
    )
    sampled = "" if quality.sampled is None else f", {quality.sampled:,} of them looked at"
    headline = f"{quality.rows:,} rows{sampled}; {'problems found' if problems else 'no problems'}"
    parts = (*table(problems, by_problem, room), *table(columns, by_column, room))
    return Section("Data quality", headline, parts=parts)


def _above_zero(counts: Mapping[RowProblem, int]) -> dict[RowProblem, int]:
    return {problem: count for problem, count in counts.items() if count}


def _counts_text(counts: Mapping[RowProblem, int]) -> str:
    return ", ".join(f"{problem} {count:,}" for problem, count in counts.items())


def _notes_section(report: ModelReport, room: Room) -> Section | None:
    return Section("Notes", parts=(Items(report.notes),)) if report.notes else None


_SECTIONS: tuple[Callable[[ModelReport, Room], Section | None], ...] = (
    _findings_section,
    performance_section,
    slices_section,
    estimate_section,
    labels_section,
    concept_drift_section,
    data_drift_section,
    prediction_drift_section,
    separability_section,
    _importance_section,
    _confidence_section,
    _latency_section,
    business_section,
    _quality_section,
    _notes_section,
)
