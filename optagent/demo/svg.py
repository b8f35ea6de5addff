"""Charts of the live page, as points of inline SVG: lines over days, and parts of a whole over rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optagent.arrays import Matrix64, Rows, Vector

WIDTH, HEIGHT = 800, 220
_MOST_POINTS = 240


@dataclass(frozen=True, slots=True)
class Curve:
    """A line or an area by its name, its points as SVG writes them, and its newest value."""

    name: str
    points: str
    newest: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves within a box of WIDTH by HEIGHT, whose lower and upper edges have these values."""

    curves: tuple[Curve, ...]
    low: float
    high: float


def line_chart(series: Mapping[str, Vector]) -> Chart | None:
    """The series, all of one length, from left to right; None where no value is finite."""
    values = {name: numbers[_spread(len(numbers))] for name, numbers in series.items()}
    every = np.concatenate(list(values.values()))
    every = every[np.isfinite(every)]
    if not len(every):
        return None
    low, high = float(every.min()), float(every.max())
    margin = max(1e-3, 0.08 * (high - low))
    low, high = low - margin, high + margin
    curves = [
        Curve(name, _points(_across(len(numbers)), _up(numbers, low, high)), _newest(numbers))
        for name, numbers in values.items()
    ]
    return Chart(tuple(curves), low, high)


def stacked_chart(names: Sequence[str], parts: Matrix64) -> Chart | None:
    """Areas of `parts`, (points, names), on top of each other; None for fewer than two points."""
    if len(parts) < 2:
        return None
    parts = parts[_spread(len(parts))]
    tops = np.cumsum(parts, axis=1)
    across, curves = _across(len(parts)), []
    for place, name in enumerate(names):
        top, floor = tops[:, place], tops[:, place] - parts[:, place]
        x, y = np.concatenate([across, across[::-1]]), np.concatenate([top, floor[::-1]])
        curves.append(Curve(name, _points(x, _up(y, 0.0, 1.0)), float(parts[-1, place])))
    return Chart(tuple(curves), 0.0, 1.0)


def _spread(count: int) -> Rows:
    """At most so many places, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, _MOST_POINTS)).round().astype(int))


def _across(count: int) -> Vector:
    return np.linspace(0, WIDTH, count)


def _up(values: Vector, low: float, high: float) -> Vector:
    return HEIGHT * (1 - (values - low) / (high - low))


def _points(x: Vector, y: Vector) -> str:
    return " ".join(f"{across:.1f},{up:.1f}" for across, up in zip(x, y, strict=True) if np.isfinite(up))


def _newest(values: Vector) -> float:
    return float(values[-1]) if len(values) else float("nan")
