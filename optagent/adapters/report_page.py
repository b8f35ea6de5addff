"""A model's analysis as one HTML page, which needs nothing from the network and no scripting but for its plots."""

from collections.abc import Iterator, Mapping, Sequence

from optagent.adapters.html_page import bullets, facts, table, text_of, whole_page
from optagent.adapters.report_plots import figure_of
from optagent.analysis.report import texts
from optagent.analysis.report.answer import CAUSES, analysed_rows, judgement, reference_rows
from optagent.analysis.report.parts import Drawing, Items, Part, Room, Section, Table
from optagent.analysis.report.sections import report_sections
from optagent.domain.diagnosis import Condition, Diagnosis
from optagent.domain.model_report import ModelReport


def report_page(report: ModelReport) -> str:
    """The page; 5 MB, most of it plotly's script, or a few kB where there is nothing to draw."""
    sections = report_sections(report, Room.WIDE)
    figures = _figures(report, sections)
    body = [*_answer(report), *(_section(one, figures) for one in sections)]
    if figures:
        body.insert(0, "<noscript><p>The plots need scripting, the rest does not.</p></noscript>")
    title = f"{report.model_id or 'a model'}: {report.analysis_type or 'full'} analysis"
    return whole_page(title, "\n".join(body))


def _figures(report: ModelReport, sections: Sequence[Section]) -> dict[Drawing, str]:
    """The plots that there are, the first with the script of all."""
    made: dict[Drawing, str] = {}
    for drawing in (part for one in sections for part in one.parts if isinstance(part, Drawing)):
        figure = figure_of(drawing, report)
        if figure is not None:
            plot = figure.to_html(
                full_html=False,
                include_plotlyjs=not made,
                div_id=f"figure-{len(made)}",
                config={"responsive": True, "displayModeBar": False},
            )
            made[drawing] = f"<figure><figcaption>{text_of(drawing.value)}</figcaption>\n{plot}</figure>"
    return made


def _answer(report: ModelReport) -> Iterator[str]:
    if report.error is not None:
        yield _paragraph(f"Error: {report.error}", "verdict bad")
    found = None if report.diagnosis is None else judgement(report.diagnosis, Room.WIDE)
    if found is not None:
        yield _paragraph(f"Verdict: {found.verdict}", f"verdict {_mood(report.diagnosis)}".strip())
        yield _paragraph(f"Remedy: {found.remedy}.")
        yield bullets(found.reasons.texts)
    known = (
        ("version", report.version),
        ("window", analysed_rows(report)),
        ("reference", None if report.reference is None else reference_rows(report.reference)),
        ("made", None if report.created_at is None else texts.time(report.created_at)),
    )
    if shown := [(name, said) for name, said in known if said]:
        yield facts(shown)
    if found is not None and found.causes:
        yield _section(Section(CAUSES, parts=found.causes), {})


def _mood(diagnosis: Diagnosis | None) -> str:
    if diagnosis is None or diagnosis.verdict is Condition.INSUFFICIENT:
        return ""
    return "good" if diagnosis.verdict is Condition.STABLE else "bad"


def _section(section: Section, figures: Mapping[Drawing, str]) -> str:
    lines = [f"<section>\n<h2>{text_of(section.title)}</h2>"]
    if section.headline:
        lines.append(_sentence(f"{section.headline}: {section.reason}" if section.reason else section.headline))
    lines += [_part(part, figures) for part in section.parts]
    return "\n".join([*lines, "</section>"])


def _part(part: Part, figures: Mapping[Drawing, str]) -> str:
    if isinstance(part, Drawing):
        return figures.get(part, "")
    if isinstance(part, Table):
        return table(part.headings, part.rows, part.marked)
    return bullets(part.texts) if isinstance(part, Items) else _sentence(part)


def _sentence(text: str) -> str:
    """A first word that is a name or a unit stays as it is."""
    first = text.partition(" ")[0].strip(",:;").replace("-", "")
    start = text[:1].upper() if first.isalpha() else text[:1]
    return _paragraph(f"{start}{text[1:]}{'' if text.endswith(('.', ':')) else '.'}")


def _paragraph(text: str, kind: str = "") -> str:
    start = f'<p class="{kind}">' if kind else "<p>"
    return f"{start}{text_of(text)}</p>"
