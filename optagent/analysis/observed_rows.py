"""Observed rows: the features, predictions and labels of a model that every analysis reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Prediction, Vector
from optagent.domain.model import Task
from optagent.domain.monitoring import Window


@dataclass(frozen=True, slots=True)
class ObservedColumn:
    """A feature. `kind` is numeric, boolean, categorical or datetime; `labels` are the categories in code order.

    In a matrix, a category that is not among them has the code `len(labels)`, and a missing value is NaN.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ObservedRows:
    """Rows in the order of time, equal instants in the order of their ids.

    `x` is (rows, columns) float32. `prediction` is (rows,) probabilities of class 1, (rows, classes) probabilities, or
    (rows,) values of a regression. `y` is (rows,) class indexes or values, NaN where no label is known yet. `time` is
    (rows,) POSIX seconds, `latency_ms` (rows,), NaN where unknown. `outcome` are further numeric columns of the labels,
    (rows,) each, NaN where unknown.
    """

    task: Task
    columns: tuple[ObservedColumn, ...]
    x: Matrix
    prediction: Prediction
    y: Vector
    time: Vector
    latency_ms: Vector
    n_classes: int = 0
    outcome: Mapping[str, Vector] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time)

    @property
    def has_label(self) -> npt.NDArray[np.bool_]:
        return ~np.isnan(self.y)

    def where(self, mask: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "ObservedRows":
        """The rows of a mask, or of positions."""
        return replace(
            self,
            x=self.x[mask],
            prediction=self.prediction[mask],
            y=self.y[mask],
            time=self.time[mask],
            latency_ms=self.latency_ms[mask],
            outcome={name: values[mask] for name, values in self.outcome.items()},
        )

    def within(self, window: Window) -> "ObservedRows":
        """The rows of a window; views, since rows are in the order of time."""
        first, last = np.searchsorted(self.time, [window.start, window.end])
        rows = slice(int(first), int(last))
        return replace(
            self,
            x=self.x[rows],
            prediction=self.prediction[rows],
            y=self.y[rows],
            time=self.time[rows],
            latency_ms=self.latency_ms[rows],
            outcome={name: values[rows] for name, values in self.outcome.items()},
        )
