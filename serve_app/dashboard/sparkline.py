"""Sparklines: a metric over time as a small drawing in SVG, with its interval, made on the server."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from optagent.domain.quality_point import QualityPoint
from optagent.domain.study import Interval

_WIDTH, _HEIGHT, _MARGIN = 140.0, 30.0, 2.0


def sparkline(points: Sequence[QualityPoint]) -> Markup:
    """The realised metric of the points as a line with its interval, or else the estimated one, dashed.

    Empty for fewer than two points with a metric. A screen reader hears the first, the last and the extreme values.
    """
    for values, style in (
        ([point.realised for point in points], ""),
        ([point.estimated for point in points], "dashed"),
    ):
        drawn = [(point, value) for point, value in zip(points, values, strict=True) if value is not None]
        if len(drawn) > 1:
            return _draw(drawn, style)
    return Markup("")


def _draw(drawn: Sequence[tuple[QualityPoint, Interval]], style: str) -> Markup:
    times = [point.window.end for point, _ in drawn]
    intervals = [interval for _, interval in drawn]
    low, high = min(interval.low for interval in intervals), max(interval.high for interval in intervals)

    def x(at: float) -> str:
        return f"{_MARGIN + (_WIDTH - 2 * _MARGIN) * (at - times[0]) / ((times[-1] - times[0]) or 1):.1f}"

    def y(value: float) -> str:
        return f"{_HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * (value - low) / ((high - low) or 1):.1f}"

    upper = [f"{x(at)},{y(interval.high)}" for at, interval in zip(times, intervals, strict=True)]
    lower = [f"{x(at)},{y(interval.low)}" for at, interval in zip(times, intervals, strict=True)]
    line = " ".join(f"{x(at)},{y(interval.estimate)}" for at, interval in zip(times, intervals, strict=True))
    return Markup(
        '<svg class="spark {}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">'
        '<polygon points="{}"/><polyline points="{}"/></svg>'
    ).format(
        style, f"{_WIDTH:g}", f"{_HEIGHT:g}", f"{_WIDTH:g}", f"{_HEIGHT:g}", escape(_in_words(drawn, style)),
        " ".join([*upper, *lower[::-1]]), line,
    )  # fmt: skip


def _in_words(drawn: Sequence[tuple[QualityPoint, Interval]], style: str) -> str:
    values = [interval.estimate for _, interval in drawn]
    estimated = " as estimated without labels" if style else ""
    return (
        f"{drawn[-1][0].metric}{estimated} in {len(values)} windows: first {values[0]:.4g}, last {values[-1]:.4g}, "
        f"lowest {min(values):.4g}, highest {max(values):.4g}"
    )
