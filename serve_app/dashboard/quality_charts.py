"""Quality charts: a model's metric over time with what happened to it, and the drift of its columns by windows."""

from collections.abc import Sequence
from dataclasses import dataclass

from optagent.domain.alert import Alert
from optagent.domain.model import ModelVersion
from optagent.domain.quality_point import QualityPoint
from optagent.domain.rollout import Rollout
from optagent.domain.rollout_look import RolloutState
from optagent.domain.study import Interval
from serve_app.dashboard.charts import Chart, chart_of, iso_time

_MARKS = {
    "alert": ("#d6453d", "triangle-up"),
    "training": ("#8e5ea2", "circle"),
    "promotion": ("#3c9a5f", "star"),
    "rollback": ("#c07f1c", "x"),
}
_ENDS = {RolloutState.BAKING: "promotion", RolloutState.ROLLED_BACK: "rollback"}
_COLUMNS = 15


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to a model: an alert, a training, a promotion or a rollback, at a POSIX time."""

    at: float
    kind: str
    text: str


def marks_of(alerts: Sequence[Alert], versions: Sequence[ModelVersion], rollouts: Sequence[Rollout]) -> list[Mark]:
    """All that happened to a model, in the order of time."""
    marks = [Mark(alert.first_seen, "alert", f"{alert.kind}: {alert.message}") for alert in alerts]
    marks += [Mark(version.created_at, "training", f"version {version.version}") for version in versions]
    for rollout in rollouts:
        for change in rollout.transitions:
            if change.state in _ENDS:
                text = f"{rollout.candidate} for {rollout.champion}: {change.reason}"
                marks.append(Mark(change.at, _ENDS[change.state], text))
    return sorted(marks, key=lambda mark: mark.at)


def metric_over_time(points: Sequence[QualityPoint], marks: Sequence[Mark]) -> Chart | None:
    """The realised metric with its interval, the estimated one, and marks below them; None without a metric."""
    realised = [(point, point.realised) for point in points if point.realised is not None]
    estimated = [(point, point.estimated) for point in points if point.estimated is not None]
    if not realised and not estimated:
        return None
    traces: list[Chart] = []
    if realised:
        traces += [*_band(realised), _line(realised, "by labels", {"color": "#2f7ed8"})]
    if estimated:
        traces.append(_line(estimated, "estimated without labels", {"color": "#888", "dash": "dot"}))
    lowest = min(interval.low for _, interval in realised) if realised else min(one.low for _, one in estimated)
    first = min(point.window.start for point in points)
    for kind, (colour, symbol) in _MARKS.items():
        shown = [mark for mark in marks if mark.kind == kind and mark.at >= first]
        if shown:
            traces.append(
                {
                    "x": [iso_time(mark.at) for mark in shown],
                    "y": [lowest] * len(shown),
                    "text": [mark.text for mark in shown],
                    "name": kind,
                    "mode": "markers",
                    "marker": {"color": colour, "symbol": symbol, "size": 9},
                }
            )
    return chart_of(traces, points[-1].metric)


def drift_map(points: Sequence[QualityPoint]) -> Chart | None:
    """The drift of the columns that drifted most, by windows, as a heat map; None where no drift was measured."""
    measured = [point for point in points if point.effects]
    if not measured:
        return None
    worst: dict[str, float] = {}
    for point in measured:
        for column, effect in point.effects.items():
            worst[column] = max(effect, worst.get(column, 0.0))
    columns = sorted(sorted(worst, key=lambda column: -worst[column])[:_COLUMNS], key=lambda column: worst[column])
    heat = {
        "type": "heatmap",
        "x": [iso_time(point.window.start) for point in measured],
        "y": columns,
        "z": [[point.effects.get(column) for point in measured] for column in columns],
        "zmin": 0,
        "zmax": max(0.5, *(worst[column] for column in columns)),
        "colorscale": [[0, "#2f7ed811"], [0.2, "#e09a2b"], [1, "#d6453d"]],
        "colorbar": {"title": {"text": "effect"}},
    }
    return chart_of([heat], "", height=140 + 22 * len(columns))


def _band(intervals: Sequence[tuple[QualityPoint, Interval]]) -> list[Chart]:
    edge = {
        "x": _times(intervals),
        "mode": "lines",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    return [
        {**edge, "y": [interval.low for _, interval in intervals]},
        {**edge, "y": [interval.high for _, interval in intervals], "fill": "tonexty", "fillcolor": "#2f7ed833"},
    ]


def _line(intervals: Sequence[tuple[QualityPoint, Interval]], name: str, line: Chart) -> Chart:
    return {
        "x": _times(intervals),
        "y": [interval.estimate for _, interval in intervals],
        "text": [
            f"{point.labelled:,} labels of {point.rows:,} rows, version {point.version}" for point, _ in intervals
        ],
        "name": name,
        "mode": "lines+markers",
        "line": line,
        "marker": {"size": 4},
    }


def _times(intervals: Sequence[tuple[QualityPoint, Interval]]) -> list[str]:
    return [iso_time(point.window.end) for point, _ in intervals]
