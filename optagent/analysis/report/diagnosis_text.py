"""Diagnosis text above the sections: the verdict with its remedy, reasons and causes, and the rows analysed."""

from dataclasses import dataclass

from optagent.analysis.report.parts import Columns, Items, Part, Room, TableColumn, rest_sentence, table
from optagent.analysis.report.texts import format_number, format_share, format_window
from optagent.domain.diagnosis import Cause, Diagnosis, Remedy
from optagent.domain.model_report import ModelReport, ReferenceSummary

CAUSES = "Likely causes, the likeliest first"
_CAUSES_IN_SHORT = 5


@dataclass(frozen=True, slots=True)
class DiagnosisText:
    """A diagnosis in words."""

    verdict: str
    remedy: str
    reasons: Items
    causes: tuple[Part, ...]


def describe_diagnosis(diagnosis: Diagnosis, room: Room) -> DiagnosisText:
    """The diagnosis in words, its causes in a table or, in a narrow view, in a list."""
    remedy = "nothing needs to be done" if diagnosis.remedy is Remedy.NOTHING else str(diagnosis.remedy)
    when = "if it gets worse" if diagnosis.remedy in (Remedy.NOTHING, Remedy.WAIT) else "if that does not help"
    later = f"; {when}: {', '.join(diagnosis.alternatives)}" if diagnosis.alternatives else ""
    return DiagnosisText(
        f"{room.emphasize(diagnosis.verdict)} (confidence: {diagnosis.confidence})",
        remedy + later,
        Items(diagnosis.reasons),
        _causes_part(diagnosis.causes, room),
    )


def analysed_rows(report: ModelReport) -> str:
    """The window and its size, as far as they are known; the size is from the first part that has one."""
    texts = [] if report.window is None else [format_window(report.window)]
    for part in (report.quality, report.performance):
        if part is not None:
            texts.append(_row_counts(part.rows, part.labelled))
            break
    else:
        if report.drift is not None:
            texts.append(f"{report.drift.rows_now:,} rows")
    return ": ".join(texts)


def reference_rows(reference: ReferenceSummary) -> str:
    """The window of the reference and its size, in the form of `analysed_rows`."""
    when = "rows without a time" if reference.window is None else format_window(reference.window)
    return f"{when}: {_row_counts(reference.rows, reference.labelled)}"


def _row_counts(rows: int, labelled: int) -> str:
    return f"{rows:,} rows, {labelled:,} labelled"


def _causes_part(causes: tuple[Cause, ...], room: Room) -> tuple[Part, ...]:
    if room is Room.NARROW:
        lines = tuple(f"{one.column} ({one.weight:.0%}): {one.reason}" for one in causes[:_CAUSES_IN_SHORT])
        return (Items(lines), *rest_sentence(len(causes), _CAUSES_IN_SHORT)) if lines else ()
    columns: Columns[Cause] = (
        TableColumn("column", lambda one: one.column),
        TableColumn("share of the blame", lambda one: format_share(one.weight)),
        TableColumn("effect", lambda one: f"{one.effect:.3f}"),
        TableColumn("importance", lambda one: format_share(one.importance)),
        TableColumn("more lost a row", lambda one: format_number(one.excess_loss)),
        TableColumn("why", lambda one: one.reason),
    )
    return table(causes, columns, room)
