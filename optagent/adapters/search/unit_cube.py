"""Unit cube: parameters encoded as points of the unit cube, where a Gaussian process measures distances."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Points = NDArray[np.float64]


class _Choices:
    """A categorical parameter, one-hot: one axis for each choice."""

    def __init__(self, distribution: CategoricalDistribution) -> None:
        self._distribution = distribution
        self.axes = len(distribution.choices)
        self.discrete = True
        self._corners: Points = np.eye(self.axes)

    def encode(self, value: Any) -> Points:
        corner: Points = self._corners[int(self._distribution.to_internal_repr(value))]
        return corner

    def decode(self, point: Points) -> Any:
        return self._distribution.choices[int(np.argmax(point))]

    def snap(self, points: Points) -> Points:
        corners: Points = self._corners[points.argmax(axis=1)]
        return corners


class _Number:
    """An integer or a float: one axis, on a log scale where the distribution has one; points snap to its steps."""

    def __init__(self, distribution: IntDistribution | FloatDistribution) -> None:
        self.axes = 1
        self.discrete = isinstance(distribution, IntDistribution) or distribution.step is not None
        self._whole = isinstance(distribution, IntDistribution)
        self._low, self._high, self._log = distribution.low, distribution.high, distribution.log
        self._step = distribution.step or 1
        self._from = math.log(self._low) if self._log else self._low
        self._width = (math.log(self._high) if self._log else self._high) - self._from

    def encode(self, value: Any) -> Points:
        return np.atleast_1d(self._axis(np.asarray(value, dtype=np.float64)))

    def decode(self, point: Points) -> Any:
        value = float(self._value(point)[0])
        return round(value) if self._whole else value

    def snap(self, points: Points) -> Points:
        return self._axis(self._value(points)) if self.discrete else points

    def _axis(self, values: Points) -> Points:
        return ((np.log(values) if self._log else values) - self._from) / self._width

    def _value(self, points: Points) -> Points:
        values = self._from + np.clip(points, 0.0, 1.0) * self._width
        if self._log:
            values = np.exp(values)
        if self.discrete:
            values = self._low + np.round((values - self._low) / self._step) * self._step
        return np.clip(values, self._low, self._high)


class UnitCube:
    """Encodes and decodes a space of Optuna distributions. Parameters with a single value have no axis."""

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._axes = {name: _axis_of(item) for name, item in space.items() if not item.single()}
        ends = np.cumsum([0] + [item.axes for item in self._axes.values()])
        self._slices = {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(self._axes)}
        self.dimensions = int(ends[-1])
        self._discrete = [name for name, item in self._axes.items() if item.discrete]

    @property
    def names(self) -> list[str]:
        return list(self._axes)

    def columns(self, name: str) -> slice:
        """The axes of a parameter."""
        return self._slices[name]

    def encode(self, rows: Iterable[Mapping[str, Any]]) -> Points:
        """Points (rows, dimensions), one for each row of parameters."""
        points = [np.concatenate([item.encode(row[name]) for name, item in self._axes.items()]) for row in rows]
        return np.array(points).reshape(-1, self.dimensions)

    def decode(self, point: Points) -> dict[str, Any]:
        return {name: item.decode(point[self._slices[name]]) for name, item in self._axes.items()}

    def snap(self, points: Points) -> Points:
        """The exact points of the parameters that `points` decode to; a categorical takes its largest axis."""
        if not self._discrete:
            return points
        snapped = points.copy()
        for name in self._discrete:
            snapped[:, self._slices[name]] = self._axes[name].snap(points[:, self._slices[name]])
        return snapped


def _axis_of(distribution: BaseDistribution) -> _Choices | _Number:
    if isinstance(distribution, CategoricalDistribution):
        return _Choices(distribution)
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return _Number(distribution)
    raise TypeError(f"unknown distribution {distribution!r}")
