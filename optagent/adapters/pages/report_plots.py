"""Report plots: the figures of a model's analysis."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from optagent.adapters.pages.plot import in_page_style, label_of
from optagent.analysis.report.drift import ranked_features
from optagent.analysis.report.parts import Drawing
from optagent.domain.concept_drift import ConceptDrift
from optagent.domain.drift import ColumnDrift, DriftStatus
from optagent.domain.model_report import ModelReport
from optagent.domain.performance import AttributionShift, Certainty, Degradation, PerformancePoint

_DRIFT_DRAWN = 30
_IMPORTANCE_DRAWN = 20
_NAME_DRAWN = 40
_NOW, _THEN = "#2f7ed8", "#9a8f7a"
_STATUS = {  # colour, and a pattern for readers who cannot see it
    DriftStatus.DRIFTED: ("#d6453d", ""),
    DriftStatus.SUSPECTED: ("#e09a2b", "/"),
    DriftStatus.STABLE: ("#5b93c9", "."),
    DriftStatus.UNKNOWN: ("#8f8f8f", "x"),
}


def figure_of(drawing: Drawing, report: ModelReport) -> go.Figure | None:
    """The figure of a drawing; None where there is nothing to draw."""
    return _FIGURES[drawing](report)


def _metrics_over_time(report: ModelReport) -> go.Figure | None:
    performance = report.performance
    if performance is None:
        return None
    return _over_time(
        performance.over_time, "reference", _reference_values(performance.degradation), report.concept_drift
    )


def _business_over_time(report: ModelReport) -> go.Figure | None:
    business = report.business
    if business is None:
        return None
    return _over_time(business.over_time, "window before", _reference_values(business.degradation), None)


def _drift(report: ModelReport) -> go.Figure | None:
    columns = [] if report.drift is None else ranked_features(report.drift)[:_DRIFT_DRAWN]
    return _drift_bars(columns) if columns else None


def _importance(report: ModelReport) -> go.Figure | None:
    shift = report.attribution
    return None if shift is None or not shift.features else _importance_bars(shift)


def _calibration_of_both(report: ModelReport) -> go.Figure | None:
    confidence = report.confidence
    if confidence is None:
        return None
    sides = (("reference", confidence.reference), ("now", confidence.current))
    curves = [(name, certainty) for name, certainty in sides if certainty is not None and certainty.curve]
    return _calibration(curves) if curves else None


def _reference_values(changes: Sequence[Degradation]) -> dict[str, float | None]:
    return {change.name: change.reference.value for change in changes}


def _over_time(
    points: Sequence[PerformancePoint], before: str, references: Mapping[str, float | None], alarm: ConceptDrift | None
) -> go.Figure | None:
    """A row for each metric: its values over time, its reference value, the alarms; None where none has a value."""
    names = list(
        dict.fromkeys(metric.name for point in points for metric in point.metrics if metric.interval is not None)
    )
    if not names:
        return None
    height = 90 + 170 * len(names)
    figure = make_subplots(len(names), 1, shared_xaxes=True, vertical_spacing=46 / height if len(names) > 1 else 0)
    span = [_instant(points[0].window.start), _instant(points[-1].window.end)]
    for row, name in enumerate(names, start=1):
        figure.add_trace(_metric_line(points, name, first=row == 1), row, 1)
        reference = references.get(name)
        if reference is not None:
            line = go.Scatter(
                x=span,
                y=[reference, reference],
                mode="lines",
                name=before,
                legendgroup=before,
                showlegend=row == 1,
                line={"color": _THEN, "dash": "dash"},
            )
            figure.add_trace(line, row, 1)
        figure.update_yaxes(title_text=_label(name), row=row, col=1)
    for at, label, dash in _alarm_lines(alarm):
        figure.add_shape(
            type="line",
            x0=_instant(at),
            x1=_instant(at),
            y0=0,
            y1=1,
            yref="paper",
            line={"color": "#d6453d", "dash": dash},
            name=label,
            showlegend=True,
        )
    figure.update_xaxes(title_text="time, UTC", row=len(names), col=1)
    return in_page_style(figure, height)


def _metric_line(points: Sequence[PerformancePoint], name: str, first: bool) -> go.Scatter:
    intervals = [next((metric.interval for metric in point.metrics if metric.name == name), None) for point in points]
    return go.Scatter(
        x=[_instant((point.window.start + point.window.end) / 2) for point in points],
        y=[None if interval is None else interval.estimate for interval in intervals],
        error_y={
            "symmetric": False,
            "array": [None if interval is None else interval.high - interval.estimate for interval in intervals],
            "arrayminus": [None if interval is None else interval.estimate - interval.low for interval in intervals],
            "thickness": 1,
            "width": 3,
        },
        mode="lines+markers",
        name="now",
        legendgroup="now",
        showlegend=first,
        line={"color": _NOW},
    )


def _alarm_lines(concept_drift: ConceptDrift | None) -> Iterator[tuple[float, str, str]]:
    if concept_drift is None:
        return
    if concept_drift.alarmed_at is not None:
        yield concept_drift.alarmed_at, "alarm of concept drift", "solid"
    if concept_drift.changed_at is not None:
        yield concept_drift.changed_at, "its most likely start", "dot"


def _drift_bars(columns: Sequence[ColumnDrift]) -> go.Figure:
    figure = go.Figure()
    for status, (colour, pattern) in _STATUS.items():
        places = [place for place, column in enumerate(columns) if column.status is status]
        if places:
            figure.add_bar(
                x=[columns[place].effect for place in places],
                y=places,
                orientation="h",
                name=status,
                marker={"color": colour, "pattern": {"shape": pattern}},
                text=[f"weight {columns[place].weight:.0%}" for place in places],
                textposition="outside",
                cliponaxis=False,
                hovertemplate="effect %{x:.3f}, %{text}",
            )
    figure.update_xaxes(title_text="effect", range=[0, 1.15 * max(0.1, *(column.effect for column in columns))])
    return _label_bars(figure, [column.name for column in columns], 24)


def _importance_bars(shift: AttributionShift) -> go.Figure:
    largest = sorted(shift.features, key=lambda feature: -max(feature.reference_share, feature.current_share))
    features = sorted(largest[:_IMPORTANCE_DRAWN], key=lambda feature: feature.current_rank)
    figure = go.Figure()
    for name, colour, shares in (
        ("then", _THEN, [feature.reference_share for feature in features]),
        ("now", _NOW, [feature.current_share for feature in features]),
    ):
        figure.add_bar(
            x=shares,
            y=list(range(len(features))),
            orientation="h",
            name=name,
            marker={"color": colour},
            hovertemplate="%{x:.1%}",
        )
    figure.update_xaxes(title_text="share", tickformat=".0%")
    return _label_bars(figure, [feature.name for feature in features], 34)


def _calibration(curves: Sequence[tuple[str, Certainty]]) -> go.Figure:
    figure = go.Figure()
    for name, certainty in curves:
        figure.add_scatter(
            x=[point.predicted for point in certainty.curve],
            y=[point.observed for point in certainty.curve],
            text=[f"{point.rows:,} rows" for point in certainty.curve],
            mode="lines+markers",
            name=name,
            line={"color": _NOW if name == "now" else _THEN},
            hovertemplate="predicted %{x:.3f}, came true %{y:.3f}, %{text}",
        )
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="perfect", line={"color": "#8f8f8f", "dash": "dot"}, hoverinfo="skip"
    )
    figure.update_xaxes(title_text="mean probability", range=[0, 1])
    figure.update_yaxes(title_text="share that came true", range=[0, 1.02])
    return in_page_style(figure, 420)


def _label_bars(figure: go.Figure, names: Sequence[str], each: int) -> go.Figure:
    """Labels horizontal bars from the top down; by place, since names may be equal or look like numbers."""
    ticks = {"tickvals": list(range(len(names))), "ticktext": [_label(name) for name in names]}
    figure.update_yaxes(**ticks, ticklabelstandoff=6, range=[len(names) - 0.5, -0.5])
    return in_page_style(figure, 110 + each * len(names)).update_yaxes(showgrid=False, zeroline=False)


def _label(name: str) -> str:
    """A name as text of a plot, cut to 40 characters."""
    return label_of(name if len(name) <= _NAME_DRAWN else f"{name[: _NAME_DRAWN - 1]}…")


def _instant(at: float) -> str | float:
    """A POSIX time in UTC as plotly draws it, without a zone, since plotly knows none."""
    try:
        return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()
    except (OverflowError, ValueError, OSError):
        return at


_FIGURES: Mapping[Drawing, Callable[[ModelReport], go.Figure | None]] = {
    Drawing.OVER_TIME: _metrics_over_time,
    Drawing.BUSINESS_OVER_TIME: _business_over_time,
    Drawing.DRIFT: _drift,
    Drawing.IMPORTANCE: _importance,
    Drawing.CALIBRATION: _calibration_of_both,
}
