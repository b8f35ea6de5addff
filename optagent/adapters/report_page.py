"""A model's analysis as one HTML page, which needs nothing from the network and no scripting but for its plots."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from optagent.adapters.page_file import write_page
from optagent.adapters.report_plots import figure_of, text_of
from optagent.analysis.report import texts
from optagent.analysis.report.answer import CAUSES, analysed_rows, judgement, reference_rows
from optagent.analysis.report.parts import Drawing, Items, Part, Room, Section, Table
from optagent.analysis.report.sections import report_sections
from optagent.domain.diagnosis import Diagnosis, Verdict
from optagent.domain.model_report import ModelReport

# Nothing may be fetched, whatever a name in the data says.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8886; --soft: #8882; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem; }}
h1 {{ font-size: 1.5rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line); }}
table {{ border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: .5rem 0; }}
th, td {{ text-align: left; vertical-align: top; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line);
 max-width: 24rem; overflow-wrap: break-word; }}
tr.marked td {{ font-weight: 600; background: var(--soft); }}
.wide {{ overflow-x: auto; }}
.verdict {{ font-size: 1.2rem; font-weight: 600; padding: .6rem 1rem; background: var(--soft);
 border-left: .4rem solid #8f8f8f; }}
.good {{ border-color: #3c9a5f; }} .bad {{ border-color: #d6453d; }}
figure {{ margin: 1rem 0; }} figcaption {{ font-weight: 600; }}
.js-plotly-plot :is(.xaxislayer-above, .yaxislayer-above, .infolayer, .bars) text {{ fill: currentColor !important; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def draw_report(report: ModelReport, path: Path) -> Path:
    """Writes the page whole or not at all; InvalidRequest for a path that cannot be written."""
    return write_page(report_page(report), path)


def report_page(report: ModelReport) -> str:
    """The page; 5 MB, most of it plotly's script, or a few kB where there is nothing to draw."""
    sections = report_sections(report, Room.WIDE)
    figures = _figures(report, sections)
    body = [*_answer(report), *(_section(one, figures) for one in sections)]
    if figures:
        body.insert(0, "<noscript><p>The plots need scripting, the rest does not.</p></noscript>")
    title = f"{report.model_id or 'a model'}: {report.analysis_type or 'full'} analysis"
    return _PAGE.format(title=text_of(title), body="\n".join(body))


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
        yield _list(found.reasons)
    known = (
        ("version", report.version),
        ("window", analysed_rows(report)),
        ("reference", None if report.reference is None else reference_rows(report.reference)),
        ("made", None if report.created_at is None else texts.time(report.created_at)),
    )
    if facts := [(name, said) for name, said in known if said]:
        yield _facts(facts)
    if found is not None and found.causes:
        yield _section(Section(CAUSES, parts=found.causes), {})


def _mood(diagnosis: Diagnosis | None) -> str:
    if diagnosis is None or diagnosis.verdict is Verdict.INSUFFICIENT:
        return ""
    return "good" if diagnosis.verdict is Verdict.STABLE else "bad"


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
        return _table(part)
    return _list(part) if isinstance(part, Items) else _sentence(part)


def _sentence(text: str) -> str:
    """A first word that is a name or a unit stays as it is."""
    first = text.partition(" ")[0].strip(",:;").replace("-", "")
    start = text[:1].upper() if first.isalpha() else text[:1]
    return _paragraph(f"{start}{text[1:]}{'' if text.endswith(('.', ':')) else '.'}")


def _facts(pairs: Sequence[tuple[str, str]]) -> str:
    rows = [f'<tr><th scope="row">{text_of(name)}</th><td>{text_of(value)}</td></tr>' for name, value in pairs]
    return '<div class="wide"><table>\n' + "\n".join(rows) + "\n</table></div>"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{text_of(heading)}</th>' for heading in table.headings)
    body = "\n".join(
        ('<tr class="marked">' if place in table.marked else "<tr>")
        + "".join(f"<td>{text_of(cell)}</td>" for cell in row)
        + "</tr>"
        for place, row in enumerate(table.rows)
    )
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _list(items: Items) -> str:
    return "<ul>\n" + "\n".join(f"<li>{text_of(text)}</li>" for text in items.texts) + "\n</ul>"


def _paragraph(text: str, kind: str = "") -> str:
    start = f'<p class="{kind}">' if kind else "<p>"
    return f"{start}{text_of(text)}</p>"
