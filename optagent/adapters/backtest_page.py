"""A policy backtest as one HTML page, which needs nothing from the network and no scripting but for its plot."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import plotly.graph_objects as go

from optagent.adapters.page_file import write_page
from optagent.adapters.report_plots import text_of
from optagent.analysis.backtest_table import facts_of, in_time, runs_table, table_of
from optagent.domain.backtest import BacktestResult, PolicyRun

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
 max-width: 30rem; overflow-wrap: break-word; }}
tr.marked td {{ font-weight: 600; background: var(--soft); }}
.wide {{ overflow-x: auto; }}
.verdict {{ font-size: 1.2rem; font-weight: 600; padding: .6rem 1rem; background: var(--soft);
 border-left: .4rem solid #3c9a5f; }}
figure {{ margin: 1rem 0; }} figcaption {{ font-weight: 600; }}
.js-plotly-plot :is(.xaxislayer-above, .yaxislayer-above, .infolayer) text {{ fill: currentColor !important; }}
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
_COLOURS = ("#2f7ed8", "#d6453d", "#3c9a5f", "#e09a2b", "#8e5bd0", "#12a5a5", "#b0567f", "#6f7f3a")
_DASHES = ("solid", "dot", "dash", "dashdot", "longdash")
_NEVER = "#9a8f7a"


def draw_backtest(result: BacktestResult, path: Path) -> Path:
    """Writes the page whole or not at all; InvalidRequest for a path that cannot be written."""
    return write_page(backtest_page(result), path)


def backtest_page(result: BacktestResult) -> str:
    """The page; 5 MB, most of it plotly's script."""
    title = f"{result.model_id or 'a model'}: backtest of {len(result.runs)} policies"
    return _PAGE.format(title=text_of(title), body="\n".join(_body(result)))


def _body(result: BacktestResult) -> Iterator[str]:
    if result.error is not None:
        yield f'<p class="verdict">Error: {text_of(result.error)}</p>'
        return
    if result.recommended is not None:
        yield f'<p class="verdict">Take {text_of(result.recommended)}</p>'
        yield f"<p>{text_of(result.confidence_in_words or '')}</p>"
    yield _rows(facts_of(result))
    if result.notes:
        yield "<ul>" + "".join(f"<li>{text_of(note)}</li>" for note in result.notes) + "</ul>"
    yield "<noscript><p>The plot needs scripting, the rest does not.</p></noscript>"
    plot = _figure(result).to_html(
        full_html=False, include_plotlyjs=True, div_id="figure-0", config={"responsive": True, "displayModeBar": False}
    )
    said = f"{result.metric} by period; a diamond is a new champion"
    yield f"<figure><figcaption>{text_of(said)}</figcaption>\n{plot}</figure>"
    marked = [place for place, run in enumerate(result.runs) if run.name == result.recommended]
    yield "<h2>Policies</h2>\n" + _table(*table_of(result), marked)
    for run in result.runs:
        if run.runs:
            yield f"<h2>{text_of(run.name)}</h2>\n" + _table(*runs_table(run))


def _figure(result: BacktestResult) -> go.Figure:
    figure = go.Figure()
    for place, run in enumerate(result.runs):
        colour = _NEVER if run.policy is None else _COLOURS[place % len(_COLOURS)]
        _add(figure, run, colour, _DASHES[place % len(_DASHES)])
    if result.runs and result.runs[0].periods:
        periods, reference = result.runs[0].periods, result.runs[0].reference
        span = [in_time(periods[0].start), in_time(periods[-1].end)]
        line = {"color": "#8f8f8f", "dash": "dot", "width": 1}
        figure.add_trace(go.Scatter(x=span, y=[reference] * 2, mode="lines", name="on its first holdout", line=line))
    figure.update_layout(
        template="none",
        height=480,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "color": "#7b7b7b", "size": 13},
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        yaxis_title=text_of(result.metric or ""),
        xaxis_title="time, UTC",
    )
    figure.update_xaxes(gridcolor="#8883", zerolinecolor="#8886", automargin=True)
    return figure.update_yaxes(gridcolor="#8883", zerolinecolor="#8886", automargin=True)


def _add(figure: go.Figure, run: PolicyRun, colour: str, dash: str) -> None:
    name = text_of(run.name)
    figure.add_trace(
        go.Scatter(
            x=[in_time((one.start + one.end) / 2) for one in run.periods],
            y=[one.metric for one in run.periods],
            text=[f"version {text_of(one.version)}, {one.rows:,} rows" for one in run.periods],
            mode="lines",
            name=name,
            line={"color": colour, "dash": dash, "width": 1.5},
        )
    )
    promoted = [one for one in run.runs if one.promoted]
    if promoted:
        figure.add_trace(
            go.Scatter(
                x=[in_time(one.at) for one in promoted],
                y=[_metric_at(run, one.at) for one in promoted],
                text=[f"version {text_of(one.version or '')}: {text_of(one.trigger)}" for one in promoted],
                mode="markers",
                name=f"{name}: new champion",
                marker={"color": colour, "symbol": "diamond", "size": 9},
            )
        )


def _metric_at(run: PolicyRun, at: float) -> float | None:
    """That of the period in which it happened, or of the nearest one that has any."""
    known = [one for one in run.periods if one.metric is not None]
    nearest = min(known, key=lambda one: abs((one.start + one.end) / 2 - at), default=None)
    return None if nearest is None else nearest.metric


def _rows(pairs: Sequence[tuple[str, str]]) -> str:
    rows = [f'<tr><th scope="row">{text_of(name)}</th><td>{text_of(value)}</td></tr>' for name, value in pairs]
    return '<div class="wide"><table>\n' + "\n".join(rows) + "\n</table></div>"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[int] = ()) -> str:
    head = "".join(f'<th scope="col">{text_of(heading)}</th>' for heading in headings)
    body = "\n".join(
        ('<tr class="marked">' if place in marked else "<tr>")
        + "".join(f"<td>{text_of(cell)}</td>" for cell in row)
        + "</tr>"
        for place, row in enumerate(rows)
    )
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
