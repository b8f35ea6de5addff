"""Members of an ensemble: predictions of several models for the same rows, each for rows on which it was not
trained."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Rows, Vector
from optagent.domain.model import Task
from optagent.ensembles.member_checks import (
    Cells,
    check_costs,
    check_names,
    check_shape,
    check_truth,
    check_values,
    notes_on_constant,
    notes_on_identical,
)
from optagent.ensembles.moments import Block, Moments, moments_of
from optagent.errors import InvalidData
from optagent.training.problem import span_of

_CELLS_AT_ONCE = 2**18  # what is worked on at a time: 2 MB, the fastest of 2**14 to 2**18


@dataclass(frozen=True, eq=False)
class Members:
    """Out-of-fold predictions of at least two models.

    `predictions` is (models, rows) probabilities of class 1 (binary) or values (regression), or (models, rows,
    classes) probabilities (multiclass); float32 and float64 are taken as they are, without a copy, so that many
    processes can share one matrix. `y` is (rows,) class indexes or values. `latency_ms` and `size_mb` are a model's
    time to answer one row and its size in memory, where known. Raises InvalidData, naming the model and the rule.
    """

    task: Task
    names: tuple[str, ...]
    predictions: Cells
    y: Vector
    latency_ms: tuple[float, ...] | None = None
    size_mb: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "predictions", _read_only(self.predictions))
        object.__setattr__(self, "y", _read_only(np.asarray(self.y, dtype=np.float64)))
        check_names(self.names)
        check_shape(self.task, self.names, self.predictions, self.y)
        check_truth(self.task, self.y, self.classes)
        for name, prediction in zip(self.names, self.predictions, strict=True):
            check_values(name, prediction, self.task)
        check_costs(self.names, "latency_ms", self.latency_ms)
        check_costs(self.names, "size_mb", self.size_mb)

    def __len__(self) -> int:
        """The number of models."""
        return len(self.names)

    @property
    def rows(self) -> int:
        return len(self.y)

    @property
    def classes(self) -> int:
        """The number of columns of a prediction; 1 where it is a plain vector."""
        return self.predictions.shape[2] if self.predictions.ndim == 3 else 1

    @cached_property
    def by_name(self) -> Rows:
        """Positions in the order of the names: ties are settled by name, never by position."""
        return np.array(sorted(range(len(self)), key=lambda index: self.names[index]), dtype=np.int64)

    @cached_property
    def moments(self) -> Moments:
        """Second moments of the residuals, in one pass over the rows."""
        return moments_of(len(self), ((self.y[rows], block) for rows, block in self.blocks()))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Oddities that are no reason to refuse: identical members, and members whose prediction is constant."""
        predictions = {self.names[index]: self.predictions[index] for index in self.by_name}
        return (*notes_on_identical(predictions), *notes_on_constant(predictions))

    def select_rows(self, rows: Rows) -> "Members":
        """The same models on some rows: a view where the rows are neighbours, otherwise a copy."""
        index = span_of(rows) or rows
        return Members(self.task, self.names, self.predictions[:, index], self.y[index], self.latency_ms, self.size_mb)

    def select_models(self, positions: Sequence[int] | Rows) -> "Members":
        """Some of the models, in this order: a copy, or these members themselves where the order is that of all of
        them."""
        order = [int(index) for index in positions]
        if order == list(range(len(self))):
            return self
        latency, size = (
            None if costs is None else tuple(costs[index] for index in order)
            for costs in (self.latency_ms, self.size_mb)
        )
        names = tuple(self.names[index] for index in order)
        return Members(self.task, names, self.predictions[order], self.y, latency, size)

    def blocks(self, wide: int = 0) -> Iterator[tuple[slice, Block]]:
        """All rows in portions of constant memory, for work on `wide` vectors beside each other (by default one for
        each model)."""
        step = max(16, _CELLS_AT_ONCE // (max(len(self), wide) * self.classes))
        for start in range(0, self.rows, step):
            rows = slice(start, min(start + step, self.rows))
            yield rows, np.asarray(self.predictions[:, rows], dtype=np.float64)

    def by_member(self) -> dict[str, Cells]:
        """The prediction of each model."""
        return dict(zip(self.names, self.predictions, strict=True))


def members_of(
    task: Task,
    predictions: Mapping[str, npt.ArrayLike],
    y: npt.ArrayLike,
    latency_ms: Mapping[str, float] | None = None,
    size_mb: Mapping[str, float] | None = None,
) -> Members:
    """Members from one array per model; raises InvalidData for a model with other rows or classes than the first."""
    arrays_by_name = {name: np.asarray(array) for name, array in predictions.items()}
    if len(arrays_by_name) < 2:
        raise InvalidData(f"an ensemble needs at least 2 models, got {len(arrays_by_name)}")
    first, shape = next((name, array.shape) for name, array in arrays_by_name.items())
    for name, array in arrays_by_name.items():
        if array.shape[:1] != shape[:1]:
            raise InvalidData(
                f"{name}: predictions of {array.shape[:1] or 'no'} rows, those of {first} are {shape[:1]}"
            )
        if array.shape != shape:
            raise InvalidData(f"{name}: predictions of shape {array.shape}, those of {first} have {shape}")
    names = tuple(arrays_by_name)
    latency, size = (
        None if costs is None else tuple(costs.get(name, math.nan) for name in names) for costs in (latency_ms, size_mb)
    )
    return Members(task, names, np.stack(list(arrays_by_name.values())), np.asarray(y, dtype=np.float64), latency, size)


def _read_only(array: npt.ArrayLike) -> npt.NDArray[Any]:
    values = np.asarray(array)
    if values.dtype not in (np.float32, np.float64):
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError):
            raise InvalidData(f"predictions must be numbers, got {values.dtype}") from None
    values = values.view()
    values.setflags(write=False)
    return values
