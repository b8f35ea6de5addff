"""HTML pages: one look for all of them."""

from collections.abc import Collection, Sequence
from html import escape

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
 max-width: 28rem; overflow-wrap: break-word; }}
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


def whole_page(title: str, body: str) -> str:
    """The page of a body that is HTML already; the title is text."""
    return _PAGE.format(title=text_of(title), body=body)


def text_of(value: str) -> str:
    """Whatever comes from data goes through here: no tags, and nothing that UTF-8 cannot hold."""
    return escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values, a row each."""
    rows = [f'<tr><th scope="row">{text_of(name)}</th><td>{text_of(value)}</td></tr>' for name, value in pairs]
    return '<div class="wide"><table>\n' + "\n".join(rows) + "\n</table></div>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], marked: Collection[int] = ()) -> str:
    """A table of texts; rows whose places are `marked` stand out."""
    head = "".join(f'<th scope="col">{text_of(heading)}</th>' for heading in headings)
    body = "\n".join(
        ('<tr class="marked">' if place in marked else "<tr>")
        + "".join(f"<td>{text_of(cell)}</td>" for cell in row)
        + "</tr>"
        for place, row in enumerate(rows)
    )
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def bullets(texts: Sequence[str]) -> str:
    """A list of texts."""
    return "<ul>\n" + "\n".join(f"<li>{text_of(text)}</li>" for text in texts) + "\n</ul>"
