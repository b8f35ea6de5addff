"""Performance sections of a report: realised, by slice, estimated, and of a user's own metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

from optagent.analysis.report.labels import maturity_text
from optagent.analysis.report.parts import Columns, Drawing, Part, Room, Section, TableColumn, table
from optagent.analysis.report.texts import (
    UNKNOWN,
    format_interval,
    format_metric,
    format_number,
    format_p_value,
    format_share,
)
from optagent.domain.model_report import ModelReport
from optagent.domain.performance import (
    Degradation,
    EstimatedMetric,
    EstimatedPerformance,
    MetricValue,
    Performance,
    SliceValue,
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A metric now, with its fall where it could be compared."""

    now: MetricValue
    fall: Degradation | None = None


def performance_section(report: ModelReport, room: Room) -> Section | None:
    realised = report.performance
    if realised is None:
        return None
    levels = {one.interval.alpha for one in realised.metrics if one.interval is not None}
    sure = f"; intervals hold {1 - max(levels):.0%}" if levels else ""
    headline = f"{realised.labelled:,} of {realised.rows:,} rows have a label{sure}"
    parts = _changes_table("reference", _rows(realised), room)
    maturity = "" if realised.maturity is None else maturity_text(realised.maturity)
    return Section("Performance", headline, maturity, (*parts, Drawing.OVER_TIME))


def slices_section(report: ModelReport, room: Room) -> Section | None:
    """All slices ordered by their shortfall, or only the worse ones in a narrow view."""
    realised = report.performance
    if realised is None or not realised.slices:
        return None
    worse = sum(one.worse for one in realised.slices)
    ranked = sorted(realised.slices, key=lambda one: (not one.worse, -_shortfall(one)))
    visible = ranked if room is Room.WIDE else ranked[:worse]
    columns: Columns[SliceValue] = (
        TableColumn("slice", lambda one: f"{one.column} = {one.value}"),
        TableColumn("metric", lambda one: one.metric.name),
        TableColumn("rows", lambda one: f"{one.metric.rows:,}"),
        TableColumn("here", lambda one: format_metric(one.metric)),
        TableColumn("rest", lambda one: format_number(one.rest.value), Room.NARROW),
        TableColumn("rest", lambda one: format_metric(one.rest), Room.WIDE),
        TableColumn("adj. p", lambda one: format_p_value(one.p_value)),
    )
    headline = f"{worse or 'none'} of {len(ranked)} worse than the rest"
    return Section("Slices", headline, parts=table(visible, columns, room, lambda one: one.worse))


def estimate_section(report: ModelReport, room: Room) -> Section | None:
    estimate = report.estimated
    if estimate is None:
        return None
    trust = _trust_headline(estimate, room)
    columns: Columns[EstimatedMetric] = (
        TableColumn("metric", lambda one: one.name),
        TableColumn("estimate", lambda one: format_interval(one.interval)),
        TableColumn("trust", _trust_text),
    )
    parts = (*table(estimate.metrics, columns, room), estimate.caveat)
    return Section(
        "Estimated performance, before labels", f"of {estimate.rows:,} rows, {trust}", estimate.reason, parts
    )


def business_section(report: ModelReport, room: Room) -> Section | None:
    metrics = report.business
    if metrics is None or not (metrics.degradation or metrics.over_time):
        return None
    before = ", against the window before" if metrics.degradation else "; the window before has none"
    parts = _changes_table("before", [_Row(one.current, one) for one in metrics.degradation], room)
    return Section("Business", f"means a row{before}", parts=(*parts, Drawing.BUSINESS_OVER_TIME))


def _rows(realised: Performance) -> list[_Row]:
    names = {one.name for one in realised.degradation}
    alone = [_Row(one) for one in realised.metrics if one.name not in names]
    now = {one.name: one for one in realised.metrics}  # of a young window, corrected: falls are of matured rows
    return [_Row(now.get(one.name, one.current), one) for one in realised.degradation] + alone


def _changes_table(before: str, rows: Sequence[_Row], room: Room) -> tuple[Part, ...]:
    columns: Columns[_Row] = (
        TableColumn("metric", lambda one: one.now.name),
        TableColumn(
            before, lambda one: "" if one.fall is None else format_number(one.fall.reference.value), Room.NARROW
        ),
        TableColumn(before, lambda one: "" if one.fall is None else format_metric(one.fall.reference), Room.WIDE),
        TableColumn("now", lambda one: format_metric(one.now)),
        TableColumn("change", lambda one: "" if one.fall is None else _change_text(one.fall), Room.NARROW),
        TableColumn(
            "change (above 0 is worse)", lambda one: "" if one.fall is None else _drop_text(one.fall), Room.WIDE
        ),
        TableColumn("degraded", lambda one: "" if one.fall is None else _degraded_text(one.fall), Room.WIDE),
        TableColumn("why not known", _reason, Room.WIDE),
        TableColumn("", lambda one: "DEGRADED" if _is_degraded(one) else _reason(one), Room.NARROW),
    )
    return table(rows, columns, room, _is_degraded)


def _is_degraded(one: _Row) -> bool:
    return one.fall is not None and one.fall.degraded


def _reason(one: _Row) -> str:
    return one.now.reason if one.fall is None else one.fall.reason


def _change_text(one: Degradation) -> str:
    if one.drop is None:
        return UNKNOWN
    size = abs(one.drop.estimate)
    text = format_number(size) if one.current.bounded else format_share(size)
    return f"{text} {'worse' if one.drop.estimate > 0 else 'better'}" if size else "none"


def _drop_text(one: Degradation) -> str:
    return (
        UNKNOWN
        if one.drop is None
        else format_interval(one.drop, format_number if one.current.bounded else format_share)
    )


def _degraded_text(one: Degradation) -> str:
    return f"{'yes' if one.degraded else 'no'} (threshold {one.threshold:g})"


def _shortfall(one: SliceValue) -> float:
    return 0.0 if one.shortfall is None else one.shortfall.estimate


def _trust_headline(estimate: EstimatedPerformance, room: Room) -> str:
    if not estimate.metrics:
        return "none"
    if estimate.trusted is False:
        return room.emphasize("not to be trusted")
    is_checked = estimate.trusted and all(_is_checked(metric) for metric in estimate.metrics)
    return "to be trusted" if is_checked else room.emphasize("not to be trusted yet")


def _is_checked(metric: EstimatedMetric) -> bool:
    """False also for a result of a version that called an estimate trusted before labels had checked it."""
    return metric.trusted is not None and metric.coverage is not None and metric.coverage.windows > 0


def _trust_text(one: EstimatedMetric) -> str:
    if one.trusted is False:
        return f"no: {one.reason}" if one.reason else "no"
    if one.coverage is None or not _is_checked(one):
        return one.reason or "not checked yet"
    return f"yes, held in {one.coverage.windows - one.coverage.missed} of {one.coverage.windows} past windows"
