"""Charts as plain values for plotly's script; plotly itself is not loaded here."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

from optagent.domain.mixture import MixturePoint
from optagent.domain.mixture_status import MixtureStatus, SlotStanding
from optagent.domain.rollout import Rollout
from optagent.domain.study import Interval, Trial, TrialState
from optagent.domain.study_report import StudyReport

Chart = Mapping[str, Any]

_STATE_COLOURS = {"shadow": "#2f7ed8", "ramp": "#e09a2b", "baking": "#3c9a5f"}
_SLOT_COLOURS = ("#2f7ed8", "#e09a2b", "#3c9a5f", "#8e5ea2", "#c0504d", "#5b9aa0", "#9a8f7a", "#6b6b6b")
_TRIALS = {TrialState.COMPLETE: ("#2f7ed8", "trained to the end"), TrialState.PRUNED: ("#9a8f7a", "stopped early")}


def evidence(rollout: Rollout) -> Chart | None:
    """The improvement over the champion at each look, with its confidence sequence; None without a measured look."""
    traces: list[Chart] = []
    for state, colour in _STATE_COLOURS.items():
        looks = [judged.look for judged in rollout.looks if judged.look.state == state]
        measured = [(look, look.improvement) for look in looks if look.improvement is not None]
        if not measured:
            continue
        at = [iso_time(look.at) for look, _ in measured]
        band = {"x": at, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        traces += [
            {**band, "y": [interval.low for _, interval in measured]},
            {**band, "y": [interval.high for _, interval in measured], "fill": "tonexty", "fillcolor": f"{colour}33"},
            {
                "x": at,
                "y": [interval.estimate for _, interval in measured],
                "mode": "lines+markers",
                "name": state,
                "line": {"color": colour},
                "text": [f"{look.rows:,} rows" for look, _ in measured],
                "error_y": _bars([interval for _, interval in measured]),
            },
        ]
    if not traces:
        return None
    return chart_of(traces, "improvement, loss a row", lines=[-rollout.policy.margin])


def _bars(intervals: Sequence[Interval]) -> Chart:
    """Bars for intervals, by which that of a single look is seen too: a band needs two."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [interval.high - interval.estimate for interval in intervals],
        "arrayminus": [interval.estimate - interval.low for interval in intervals],
        "thickness": 1,
    }


def trials(report: StudyReport) -> Chart | None:
    """The score of each trial, and the best so far of those that were trained to the end."""
    scored = [trial for trial in report.trials if trial.score is not None]
    if not scored:
        return None
    objective = report.summary.objectives[0]
    traces = [
        {
            **_trial_points([trial for trial in scored if trial.state is state]),
            "name": label,
            "marker": {"color": colour, "size": 6},
        }
        for state, (colour, label) in _TRIALS.items()
    ]
    best: list[float] = []
    complete = [trial for trial in scored if trial.state is TrialState.COMPLETE]
    for trial in complete:
        assert trial.score is not None
        best.append(max([trial.score, *best[-1:]], key=lambda score: objective.sign * score))
    numbers = [trial.number for trial in complete]
    line = {"color": "#3c9a5f", "shape": "hv"}
    traces.append({"x": numbers, "y": best, "mode": "lines", "name": "best so far", "line": line})
    return chart_of(traces, objective.name, x="trial")


def importances(report: StudyReport) -> Chart | None:
    """The importance of each parameter; None where none were computed."""
    if not report.importances:
        return None
    smallest_first = list(report.importances)[::-1]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [report.importances[name] for name in smallest_first],
        "y": smallest_first,
        "marker": {"color": "#2f7ed8"},
    }
    return chart_of([bars], "", x="share", height=120 + 22 * len(smallest_first))


def mixture_weights(status: MixtureStatus) -> Chart | None:
    """The part of each slot in the answers over time, stacked; None before the first labels."""
    if not status.history:
        return None
    at = [iso_time(point.at) for point in status.history]
    names = dict.fromkeys(name for point in status.history for name in point.slots)
    traces = [
        {
            "x": at,
            "y": [dict(zip(point.slots, point.weights, strict=True)).get(name, 0.0) for point in status.history],
            "name": name,
            "mode": "lines",
            "stackgroup": "slots",
            "line": {"width": 0.5, "color": colour},
        }
        for name, colour in zip(names, cycle(_SLOT_COLOURS), strict=False)
    ]
    return chart_of(traces, "part of the answers")


def mixture_gains(status: MixtureStatus) -> Chart | None:
    """The nats by which the answers are ahead of each slot, summed up over time; None before the first labels."""
    if not status.history:
        return None
    traces = []
    for slot, colour in zip(status.slots, cycle(_SLOT_COLOURS), strict=False):
        sums = _sums_ahead(slot, status.history)
        traces.append(
            {
                "x": [iso_time(point.at) for point, _ in sums],
                "y": [ahead for _, ahead in sums],
                "text": [f"{point.rows:,} rows" for point, _ in sums],
                "name": slot.name,
                "mode": "lines",
                "line": {"color": colour},
            }
        )
    return chart_of(traces, "nats ahead of the slot", lines=[0.0, -status.certificate.bound])


def _sums_ahead(slot: SlotStanding, history: Sequence[MixturePoint]) -> list[tuple[MixturePoint, float]]:
    """The points since a slot has joined, with the nats ahead of it.

    They are counted back from today's, for a point's sum of the answers' losses has rows from before the slot joined.
    """
    differences = [
        (point, dict(zip(point.slots, point.slot_losses, strict=True))[slot.name] - point.loss)
        for point in history
        if slot.name in point.slots
    ]
    return [(point, slot.ahead - (differences[-1][1] - difference)) for point, difference in differences]


def _trial_points(trials: Sequence[Trial]) -> dict[str, Any]:
    texts = [", ".join(f"{name} {value}" for name, value in trial.params.items()) for trial in trials]
    scores = [trial.score for trial in trials]
    return {"x": [trial.number for trial in trials], "y": scores, "mode": "markers", "text": texts}


def chart_of(traces: Sequence[Chart], y: str, x: str = "", height: int = 320, lines: Sequence[float] = ()) -> Chart:
    """Traces with the layout that all charts share; `lines` are dotted, across the whole width.

    `y` and `x` title the axes, `height` is in pixels.
    """
    dashed = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "line": {"dash": "dot", "color": "#888", "width": 1}}
    layout = {
        "height": height,
        "margin": {"l": 70, "r": 20, "t": 10, "b": 45},
        "xaxis": {"title": {"text": x}, "automargin": True},
        "yaxis": {"title": {"text": y}, "automargin": True},
        "shapes": [{**dashed, "y0": line, "y1": line} for line in lines],
        "legend": {"orientation": "h", "y": 1.15},
    }
    return {"data": list(traces), "layout": layout}


def iso_time(at: float) -> str:
    """POSIX seconds as plotly reads them."""
    return datetime.fromtimestamp(at, UTC).isoformat()
