"""Performance in words: realised, by slice, estimated, and of a user's own metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

from optagent.analysis.report.parts import Columns, Drawing, Part, Room, Section, TableColumn, table
from optagent.analysis.report.texts import UNKNOWN, bounded, number, p_value, share, valued
from optagent.domain.model_report import ModelReport
from optagent.domain.performance import Degradation, EstimatedMetric, MetricValue, Performance, SliceValue


@dataclass(frozen=True, slots=True)
class _Row:
    """A metric now, with its fall where it could be compared."""

    now: MetricValue
    fall: Degradation | None = None


def performance(report: ModelReport, room: Room) -> Section | None:
    found = report.performance
    if found is None:
        return None
    levels = {one.interval.alpha for one in found.metrics if one.interval is not None}
    sure = f"; intervals hold {1 - max(levels):.0%}" if levels else ""
    headline = f"{found.labelled:,} of {found.rows:,} rows have a label{sure}"
    parts = _changes("reference", _rows(found), room)
    return Section("Performance", headline, parts=(*parts, Drawing.OVER_TIME))


def slices(report: ModelReport, room: Room) -> Section | None:
    """All of them by what they lack, or the worse ones alone in a narrow view."""
    found = report.performance
    if found is None or not found.slices:
        return None
    worse = sum(one.worse for one in found.slices)
    ranked = sorted(found.slices, key=lambda one: (not one.worse, -_shortfall(one)))
    shown = ranked if room is Room.WIDE else ranked[:worse]
    columns: Columns[SliceValue] = (
        TableColumn("slice", lambda one: f"{one.column} = {one.value}"),
        TableColumn("metric", lambda one: one.metric.name),
        TableColumn("rows", lambda one: f"{one.metric.rows:,}"),
        TableColumn("here", lambda one: valued(one.metric)),
        TableColumn("rest", lambda one: number(one.rest.value), Room.NARROW),
        TableColumn("rest", lambda one: valued(one.rest), Room.WIDE),
        TableColumn("adj. p", lambda one: p_value(one.p_value)),
    )
    headline = f"{worse or 'none'} of {len(ranked)} worse than the rest"
    return Section("Slices", headline, parts=table(shown, columns, room, lambda one: one.worse))


def estimated(report: ModelReport, room: Room) -> Section | None:
    found = report.estimated
    if found is None:
        return None
    trust = "to be trusted" if found.trusted else room.loud("not to be trusted")
    columns: Columns[EstimatedMetric] = (
        TableColumn("metric", lambda one: one.name),
        TableColumn("estimate", lambda one: bounded(one.interval)),
        TableColumn("trust", _trust),
    )
    parts = (*table(found.metrics, columns, room), found.caveat)
    return Section("Estimated performance, before labels", f"of {found.rows:,} rows, {trust}", found.reason, parts)


def business(report: ModelReport, room: Room) -> Section | None:
    found = report.business
    if found is None or not (found.degradation or found.over_time):
        return None
    before = ", against the window before" if found.degradation else "; the window before has none"
    parts = _changes("before", [_Row(one.current, one) for one in found.degradation], room)
    return Section("Business", f"means a row{before}", parts=(*parts, Drawing.BUSINESS_OVER_TIME))


def _rows(found: Performance) -> list[_Row]:
    compared = {one.name for one in found.degradation}
    alone = [_Row(one) for one in found.metrics if one.name not in compared]
    return [_Row(one.current, one) for one in found.degradation] + alone


def _changes(before: str, rows: Sequence[_Row], room: Room) -> tuple[Part, ...]:
    columns: Columns[_Row] = (
        TableColumn("metric", lambda one: one.now.name),
        TableColumn(before, lambda one: "" if one.fall is None else number(one.fall.reference.value), Room.NARROW),
        TableColumn(before, lambda one: "" if one.fall is None else valued(one.fall.reference), Room.WIDE),
        TableColumn("now", lambda one: valued(one.now)),
        TableColumn("change", lambda one: "" if one.fall is None else _change(one.fall), Room.NARROW),
        TableColumn("change (above 0 is worse)", lambda one: "" if one.fall is None else _drop(one.fall), Room.WIDE),
        TableColumn("degraded", lambda one: "" if one.fall is None else _degraded(one.fall), Room.WIDE),
        TableColumn("why not known", _reason, Room.WIDE),
        TableColumn("", lambda one: "DEGRADED" if _fell(one) else _reason(one), Room.NARROW),
    )
    return table(rows, columns, room, _fell)


def _fell(one: _Row) -> bool:
    return one.fall is not None and one.fall.degraded


def _reason(one: _Row) -> str:
    return one.now.reason if one.fall is None else one.fall.reason


def _change(one: Degradation) -> str:
    if one.drop is None:
        return UNKNOWN
    size = abs(one.drop.estimate)
    shown = number(size) if one.current.bounded else share(size)
    return f"{shown} {'worse' if one.drop.estimate > 0 else 'better'}" if size else "none"


def _drop(one: Degradation) -> str:
    return UNKNOWN if one.drop is None else bounded(one.drop, number if one.current.bounded else share)


def _degraded(one: Degradation) -> str:
    return f"{'yes' if one.degraded else 'no'} (threshold {one.threshold:g})"


def _shortfall(one: SliceValue) -> float:
    return 0.0 if one.shortfall is None else one.shortfall.estimate


def _trust(one: EstimatedMetric) -> str:
    if not one.trusted:
        return f"no: {one.reason}" if one.reason else "no"
    if one.coverage is None or not one.coverage.windows:
        return "yes, not checked yet"
    return f"yes, held in {one.coverage.windows - one.coverage.missed} of {one.coverage.windows} past windows"
