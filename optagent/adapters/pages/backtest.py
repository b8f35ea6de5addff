"""Backtest page: a policy backtest as one HTML page, which needs no network, and a script only for its plot."""

import plotly.graph_objects as go

from optagent.adapters.pages.page import render_page
from optagent.adapters.pages.plot import in_page_style, label_of, plot_of
from optagent.analysis.report.backtest_table import format_utc, policies_table, replay_facts, runs_table
from optagent.domain.backtest import BacktestResult
from optagent.domain.policy_run import PolicyRun

_COLOURS = ("#2f7ed8", "#d6453d", "#3c9a5f", "#e09a2b", "#8e5bd0", "#12a5a5", "#b0567f", "#6f7f3a")
_DASHES = ("solid", "dot", "dash", "dashdot", "longdash")
_NEVER = "#9a8f7a"


def backtest_page(result: BacktestResult) -> str:
    """The page as HTML; 5 MB, most of it plotly's script."""
    caption = f"{result.metric} by period; a diamond is a new champion"
    headings, rows = policies_table(result)
    return render_page(
        "backtest.html",
        f"{result.model_id or 'a model'}: backtest of {len(result.runs)} policies",
        [] if result.error is not None else [plot_of(_figure(result), 0, caption)],
        result=result,
        facts=replay_facts(result),
        headings=headings,
        rows=rows,
        marked=[place for place, run in enumerate(result.runs) if run.name == result.recommended],
        runs=[(run.name, *runs_table(run)) for run in result.runs if run.runs],
    )


def _figure(result: BacktestResult) -> go.Figure:
    figure = go.Figure()
    for place, run in enumerate(result.runs):
        colour = _NEVER if run.policy is None else _COLOURS[place % len(_COLOURS)]
        _add_run(figure, run, colour, _DASHES[place % len(_DASHES)])
    if result.runs and result.runs[0].periods:
        periods, reference = result.runs[0].periods, result.runs[0].reference
        span = [format_utc(periods[0].start), format_utc(periods[-1].end)]
        line = {"color": "#8f8f8f", "dash": "dot", "width": 1}
        figure.add_trace(go.Scatter(x=span, y=[reference] * 2, mode="lines", name="on its first holdout", line=line))
    figure.update_layout(yaxis_title=label_of(result.metric or ""), xaxis_title="time, UTC")
    return in_page_style(figure, 480)


def _add_run(figure: go.Figure, run: PolicyRun, colour: str, dash: str) -> None:
    name = label_of(run.name)
    figure.add_trace(
        go.Scatter(
            x=[format_utc((period.start + period.end) / 2) for period in run.periods],
            y=[period.metric for period in run.periods],
            text=[f"version {label_of(period.version)}, {period.rows:,} rows" for period in run.periods],
            mode="lines",
            name=name,
            line={"color": colour, "dash": dash, "width": 1.5},
        )
    )
    promoted = [(one, one.at if one.promoted_at is None else one.promoted_at) for one in run.runs if one.promoted]
    if promoted:
        figure.add_trace(
            go.Scatter(
                x=[format_utc(at) for _, at in promoted],
                y=[_metric_at(run, at) for _, at in promoted],
                text=[f"version {label_of(one.version or '')}: {label_of(one.trigger)}" for one, _ in promoted],
                mode="markers",
                name=f"{name}: new champion",
                marker={"color": colour, "symbol": "diamond", "size": 9},
            )
        )


def _metric_at(run: PolicyRun, at: float) -> float | None:
    """The metric of the period nearest to `at` that has one; None where no period has one."""
    periods = [period for period in run.periods if period.metric is not None]
    nearest = min(periods, key=lambda period: abs((period.start + period.end) / 2 - at), default=None)
    return None if nearest is None else nearest.metric
