"""Label sections of a report: the share of a window's labels that has come, and the ages at which labels come."""

from optagent.analysis.pipeline_faults import span_text
from optagent.analysis.report.parts import Columns, Part, Room, Section, TableColumn, table
from optagent.analysis.report.texts import UNKNOWN, format_number, format_p_value, format_share, format_time
from optagent.domain.label_maturity import LabelMaturity, LabelSlowing, OutcomeMaturity, WindowMaturity
from optagent.domain.model_report import ModelReport


def maturity_text(maturity: WindowMaturity) -> str:
    """The state of a window's labels in a sentence; empty once they have matured."""
    if not maturity.provisional:
        return ""
    share = "" if maturity.share is None else f": {maturity.share:.1%} of the labels that ever come have come"
    until = "" if maturity.matures_at is None else f" until {format_time(maturity.matures_at)}"
    rows = f" ({format_number(maturity.effective_rows)} effective rows)" if maturity.corrected else ""
    return f"PROVISIONAL{until}{share}; {maturity.note}{rows}"


def labels_section(report: ModelReport, room: Room) -> Section | None:
    return None if report.labels is None else maturity_section(report.labels, room)


def maturity_section(labels: LabelMaturity, room: Room) -> Section:
    """The ages at which labels come, the label delay that they suggest, and the test for slower ones."""
    columns: Columns[OutcomeMaturity] = (
        TableColumn("outcome", lambda one: one.outcome),
        TableColumn("labels", lambda one: f"{one.labels:,}"),
        TableColumn("half after", lambda one: _age(one.q50_s)),
        TableColumn("90 % after", lambda one: _age(one.q90_s)),
        TableColumn("99 % after", lambda one: _age(one.q99_s)),
    )
    parts: tuple[Part, ...] = table(labels.outcomes, columns, room)
    if labels.suggested_label_delay_s is not None:
        parts = (*parts, _delay_text(labels, labels.suggested_label_delay_s))
    if labels.slowing is not None:
        parts = (*parts, _slowing_text(labels.slowing, room))
    ever = "" if labels.ever is None else f"; {format_share(labels.ever)} of them ever get a label"
    return Section("Labels", f"{labels.requests:,} requests counted{ever}", labels.reason, parts)


def _delay_text(labels: LabelMaturity, suggested_s: float) -> str:
    suggested = span_text(suggested_s)
    if labels.label_delay_s is None:
        return f"no label delay is set; {suggested} would wait for 99 % of the labels of the slowest outcome"
    if suggested_s > labels.label_delay_s:
        bound = span_text(labels.label_delay_s)
        return f"the label delay of {bound} is too short: 99 % of the labels of the slowest outcome take {suggested}"
    return f"the label delay of {span_text(labels.label_delay_s)} is enough; {suggested} would do"


def _slowing_text(slowing: LabelSlowing, room: Room) -> str:
    verdict = room.emphasize("labels come more slowly") if slowing.is_detected else "labels come as fast as usual"
    return (
        f"{verdict}: {slowing.share:.1%} of {slowing.rows:,} requests since {format_time(slowing.since)} had one after "
        f"{span_text(slowing.age_s)}, usually {slowing.usual_share:.1%} (p {format_p_value(slowing.p_value)}, the "
        f"least of {slowing.tests} tests at {slowing.level:.2g} together)"
    )


def _age(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else span_text(seconds)
