"""A model's analysis on the command line: the verdict first, then its evidence; reads well without colour."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from optagent.analysis.report import texts
from optagent.analysis.report.diagnosis_text import CAUSES, analysed_rows, describe_diagnosis, reference_rows
from optagent.analysis.report.labels import maturity_section
from optagent.analysis.report.parts import Drawing, Items, Part, Room, Section
from optagent.analysis.report.parts import Table as TextTable
from optagent.analysis.report.sections import report_sections
from optagent.domain.alert import Alert
from optagent.domain.diagnosis import Diagnosis
from optagent.domain.label_maturity import LabelMaturity
from optagent.domain.model_report import ModelReport
from optagent.secret_text import hide_secrets


def show_report(console: Console, report: ModelReport) -> None:
    """All that is known of a model's window, from the verdict to the notes; parts that are None are left out."""
    _show_answer(console, report)
    for section in report_sections(report, Room.NARROW):
        _show_section(console, section)


def show_labels(console: Console, labels: LabelMaturity) -> None:
    """The ages at which a model's labels come."""
    _show_section(console, maturity_section(labels, Room.NARROW))


def show_alerts(console: Console, alerts: Sequence[Alert]) -> None:
    """Alerts as they come, one a row."""
    if not alerts:
        return _say(console, "No alerts.")
    rows = [
        (
            one.severity.upper(),
            "open" if one.resolved_at is None else f"resolved {texts.format_time(one.resolved_at)}",
            one.model_id,
            f"{one.kind}: {one.message}",
            texts.format_time(one.first_seen),
            texts.format_time(one.last_seen),
        )
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
        f"made {texts.format_time(report.created_at)}" if report.created_at is not None else "",
    ]
    if any(known):
        _say(console, ", ".join(part for part in known if part))
    if report.window is not None:
        _say(console, f"window    {analysed_rows(report)}")
    if report.reference is not None:
        _say(console, f"reference {reference_rows(report.reference)}")


def _show_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    found = describe_diagnosis(diagnosis, Room.NARROW)
    _say(console, found.verdict, "bold")
    _say(console, f"Remedy: {found.remedy}")
    _items(console, found.reasons.texts)
    if found.causes:
        _say(console, f"{CAUSES}:")
        _show_parts(console, found.causes)
    console.print()


def _show_section(console: Console, section: Section) -> None:
    console.print()
    _say(console, f"{section.title}: {section.headline}" if section.headline else section.title, "bold")
    if section.reason:
        _say(console, section.reason)
    _show_parts(console, section.parts)


def _show_parts(console: Console, parts: Iterable[Part]) -> None:
    for part in parts:
        if isinstance(part, TextTable):
            _table(console, part.headings, part.rows)
        elif isinstance(part, Items):
            _items(console, part.texts)
        elif not isinstance(part, Drawing):
            _say(console, part)


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(_plain(text, style), highlight=False)


def _items(console: Console, texts: Iterable[str]) -> None:
    grid = Table.grid(padding=(0, 1))
    for text in texts:
        grid.add_row(" -", _plain(text))
    console.print(grid, highlight=False)


def _table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table without borders, so that eight columns find room in a log."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    console.print(table, highlight=False)


def _plain(text: str, style: str = "") -> Text:
    """Names come from data: no markup is read from them, and no control character or secret reaches the terminal."""
    shown = hide_secrets(text)
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown), style)
