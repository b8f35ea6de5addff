"""A policy backtest as one HTML page, which needs nothing from the network and no scripting but for its plot."""

from collections.abc import Iterator

import plotly.graph_objects as go

from optagent.adapters.html_page import bullets, facts, table, text_of, whole_page
from optagent.analysis.backtest_table import facts_of, in_time, runs_table, table_of
from optagent.domain.backtest import BacktestResult, PolicyRun

_COLOURS = ("#2f7ed8", "#d6453d", "#3c9a5f", "#e09a2b", "#8e5bd0", "#12a5a5", "#b0567f", "#6f7f3a")
_DASHES = ("solid", "dot", "dash", "dashdot", "longdash")
_NEVER = "#9a8f7a"


def backtest_page(result: BacktestResult) -> str:
    """The page; 5 MB, most of it plotly's script."""
    title = f"{result.model_id or 'a model'}: backtest of {len(result.runs)} policies"
    return whole_page(title, "\n".join(_body(result)))


def _body(result: BacktestResult) -> Iterator[str]:
    if result.error is not None:
        yield f'<p class="verdict bad">Error: {text_of(result.error)}</p>'
        return
    if result.recommended is not None:
        yield f'<p class="verdict good">Take {text_of(result.recommended)}</p>'
        yield f"<p>{text_of(result.confidence_in_words or '')}</p>"
    yield facts(facts_of(result))
    if result.notes:
        yield bullets(result.notes)
    yield "<noscript><p>The plot needs scripting, the rest does not.</p></noscript>"
    plot = _figure(result).to_html(
        full_html=False, include_plotlyjs=True, div_id="figure-0", config={"responsive": True, "displayModeBar": False}
    )
    said = f"{result.metric} by period; a diamond is a new champion"
    yield f"<figure><figcaption>{text_of(said)}</figcaption>\n{plot}</figure>"
    marked = [place for place, run in enumerate(result.runs) if run.name == result.recommended]
    yield "<h2>Policies</h2>\n" + table(*table_of(result), marked)
    for run in result.runs:
        if run.runs:
            yield f"<h2>{text_of(run.name)}</h2>\n" + table(*runs_table(run))


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
