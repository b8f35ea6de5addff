"""A model's analysis in sections, the gravest first: one wording for every view."""

from collections.abc import Callable, Mapping

from optagent.analysis.report.drift import concept_drift, data_drift, prediction_drift, separability
from optagent.analysis.report.parts import Columns, Drawing, Items, Part, Room, Section, TableColumn, table
from optagent.analysis.report.performance import business, estimated, performance, slices
from optagent.analysis.report.texts import UNKNOWN, bounded, number, p_value, share
from optagent.domain.alert import Finding
from optagent.domain.model_report import ModelReport
from optagent.domain.performance import Certainty, FeatureShift, UncertainSlice
from optagent.domain.quality import RowProblem


def report_sections(report: ModelReport, room: Room) -> list[Section]:
    """What is known below the verdict; parts that are None are left out."""
    return [section for of in _SECTIONS if (section := of(report, room)) is not None]


def _findings(report: ModelReport, room: Room) -> Section | None:
    if not report.findings:
        return None
    columns: Columns[Finding] = (
        TableColumn("severity", lambda one: room.loud(one.severity)),
        TableColumn("kind", lambda one: str(one.kind)),
        TableColumn("finding", lambda one: one.message),
    )
    worst_first = sorted(report.findings, key=lambda one: -one.severity.rank)
    return Section("Findings", parts=table(worst_first, columns, room))


def _importance(report: ModelReport, room: Room) -> Section | None:
    shift = report.attribution
    if shift is None:
        return None
    state = room.loud("changed") if shift.changed else "not known" if shift.ndcg is None else "as before"
    score = "" if shift.ndcg is None else f", nDCG {shift.ndcg:.3f} (changed below {shift.threshold:g})"
    known = {one.name: one for one in shift.features}
    columns: Columns[FeatureShift] = (
        TableColumn("moved most", lambda one: one.name),
        TableColumn("share", lambda one: f"{share(one.reference_share)} → {share(one.current_share)}"),
        TableColumn("rank", lambda one: f"{one.reference_rank} → {one.current_rank}"),
    )
    movers = [known[name] for name in shift.movers if name in known]
    drawn = (Drawing.IMPORTANCE,) if shift.features else ()
    return Section("Importance", f"{state}{score}", shift.reason, (*drawn, *table(movers, columns, room)))


def _confidence(report: ModelReport, room: Room) -> Section | None:
    found = report.confidence
    if found is None:
        return None
    sides = [("reference", found.reference), ("now", found.current)]
    columns: Columns[tuple[str, Certainty]] = (
        TableColumn("rows of", lambda side: side[0]),
        TableColumn("rows", lambda side: f"{side[1].rows:,}"),
        TableColumn("labelled", lambda side: f"{side[1].labelled:,}", Room.WIDE),
        TableColumn("uncertain", lambda side: share(side[1].uncertain)),
        TableColumn("entropy", lambda side: number(side[1].entropy)),
        TableColumn("calibration error", lambda side: _calibration_error(side[1])),
    )
    of_slices: Columns[UncertainSlice] = (
        TableColumn("slice", lambda one: f"{one.column} = {one.value}"),
        TableColumn("rows", lambda one: f"{one.rows:,}"),
        TableColumn("uncertain", lambda one: share(one.uncertain)),
        TableColumn("rest", lambda one: share(one.rest)),
        TableColumn("adj. p", lambda one: p_value(one.p_value)),
    )
    certainties = table([(name, one) for name, one in sides if one is not None], columns, room)
    parts: tuple[Part, ...] = (*certainties, Drawing.CALIBRATION)
    if found.slices:
        said = "slices with more uncertain rows than the rest:"
        parts = (*parts, said, *table(found.slices, of_slices, room))
    headline = f"rows are uncertain where the most probable class has less than {found.threshold:.0%}"
    return Section("Confidence", headline, parts=parts)


def _calibration_error(one: Certainty) -> str:
    error = one.calibration_error
    if error is None:
        return UNKNOWN
    return error.reason if error.interval is None else bounded(error.interval)


def _latency(report: ModelReport, room: Room) -> Section | None:
    found = report.latency
    if found is None:
        return None
    named = (("p50", found.p50_ms), ("p95", found.p95_ms), ("p99", found.p99_ms), ("max", found.max_ms))
    times = ", ".join(f"{name} {number(value)} ms" for name, value in named if value is not None)
    counts = [f"{found.rows:,} rows"]
    counts += [f"{found.unknown:,} unknown"] if found.unknown else []
    counts += [f"{found.unusable:,} unusable"] if found.unusable else []
    return Section("Latency", f"{times or 'not known'}; {', '.join(counts)}")


def _quality(report: ModelReport, room: Room) -> Section | None:
    found = report.quality
    if found is None:
        return None
    looked_at = max(1, found.rows if found.sampled is None else found.sampled)
    problems = sorted(_above_zero(found.problems).items(), key=lambda item: -item[1])
    columns = [(name, counts) for name, all_of in found.columns.items() if (counts := _above_zero(all_of))]
    columns.sort(key=lambda item: (-sum(item[1].values()), item[0]))
    by_problem: Columns[tuple[RowProblem, int]] = (
        TableColumn("problem", lambda one: str(one[0])),
        TableColumn("count", lambda one: f"{one[1]:,}"),
        TableColumn("on average", lambda one: f"{one[1] / looked_at:.2g} a row"),
    )
    by_column: Columns[tuple[str, Mapping[RowProblem, int]]] = (
        TableColumn("column", lambda one: one[0]),
        TableColumn("problems", lambda one: _listed(one[1])),
    )
    sampled = "" if found.sampled is None else f", {found.sampled:,} of them looked at"
    headline = f"{found.rows:,} rows{sampled}; {'problems found' if problems else 'no problems'}"
    parts = (*table(problems, by_problem, room), *table(columns, by_column, room))
    return Section("Data quality", headline, parts=parts)


def _above_zero(counts: Mapping[RowProblem, int]) -> dict[RowProblem, int]:
    return {problem: count for problem, count in counts.items() if count}


def _listed(counts: Mapping[RowProblem, int]) -> str:
    return ", ".join(f"{problem} {count:,}" for problem, count in counts.items())


def _notes(report: ModelReport, room: Room) -> Section | None:
    return Section("Notes", parts=(Items(report.notes),)) if report.notes else None


_SECTIONS: tuple[Callable[[ModelReport, Room], Section | None], ...] = (
    _findings,
    performance,
    slices,
    estimated,
    concept_drift,
    data_drift,
    prediction_drift,
    separability,
    _importance,
    _confidence,
    _latency,
    business,
    _quality,
    _notes,
)
