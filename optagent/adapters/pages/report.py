"""Report page: a model's analysis as one HTML page, which needs no network, and a script only for its plots."""

from collections.abc import Sequence

from optagent.adapters.pages.page import render_page
from optagent.adapters.pages.plot import Plot, plot_of
from optagent.adapters.pages.report_plots import figure_of
from optagent.analysis.report import texts
from optagent.analysis.report.diagnosis_text import CAUSES, analysed_rows, describe_diagnosis, reference_rows
from optagent.analysis.report.parts import Drawing, Room, Section
from optagent.analysis.report.sections import report_sections
from optagent.domain.diagnosis import Condition, Diagnosis
from optagent.domain.model_report import ModelReport


def report_page(report: ModelReport) -> str:
    """The page as HTML; 5 MB, most of it plotly's script, or a few kB where there is nothing to draw."""
    sections = report_sections(report, Room.WIDE)
    plots = _plots(report, sections)
    words = None if report.diagnosis is None else describe_diagnosis(report.diagnosis, Room.WIDE)
    causes = () if words is None or not words.causes else (Section(CAUSES, parts=words.causes),)
    return render_page(
        "report.html",
        f"{report.model_id or 'a model'}: {report.analysis_type or 'full'} analysis",
        list(plots.values()),
        error=report.error,
        judgement=words,
        mood=_mood(report.diagnosis),
        facts=_facts(report),
        sections=(*causes, *sections),
        plot_at=plots,
    )


def _plots(report: ModelReport, sections: Sequence[Section]) -> dict[Drawing, Plot]:
    """The plots of the report, by their places in the sections."""
    plots: dict[Drawing, Plot] = {}
    for drawing in (part for section in sections for part in section.parts if isinstance(part, Drawing)):
        figure = figure_of(drawing, report)
        if figure is not None:
            plots[drawing] = plot_of(figure, len(plots), drawing.value)
    return plots


def _facts(report: ModelReport) -> list[tuple[str, str]]:
    """The names and values of the known facts about the report's rows."""
    facts = (
        ("version", report.version),
        ("window", analysed_rows(report)),
        ("reference", None if report.reference is None else reference_rows(report.reference)),
        ("made", None if report.created_at is None else texts.format_time(report.created_at)),
    )
    return [(name, value) for name, value in facts if value]


def _mood(diagnosis: Diagnosis | None) -> str:
    if diagnosis is None or diagnosis.verdict is Condition.INSUFFICIENT:
        return ""
    return "good" if diagnosis.verdict is Condition.STABLE else "bad"
