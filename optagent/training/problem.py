"""Learning problem: one matrix that every trial shares, and the folds on which trials are scored."""

from dataclasses import dataclass

import numpy as np

from optagent.arrays import Codes, Matrix, Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.training.label_parts import LabelEncoding, LabelParts


def span_of(rows: Rows) -> slice | None:
    """The slice of the same rows where they are neighbours in ascending order, otherwise None.

    >>> span_of(np.arange(3, 7)), span_of(np.array([1, 3]))
    (slice(3, 7, None), None)
    """
    if not len(rows) or rows[-1] - rows[0] != len(rows) - 1 or not bool((np.diff(rows) == 1).all()):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1)


@dataclass(frozen=True, slots=True)
class Fold:
    """Row positions of one split; `train` and `valid` share no row.

    `group` (valid rows,) numbers the stretch of time of each validation row where several folds validate the same ones;
    None where a row is validated by one fold only.
    """

    train: Rows
    valid: Rows
    group: Codes | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """Encoded rows.

    `x` is (rows, columns) float32, C-ordered, NaN where missing; columns listed in `categorical` hold codes 0, 1, 2 …
    of at most `levels[column]` levels, NaN where missing or unseen. `y` is (rows,) float64: the class index 0 … k-1 for
    classifiers, the value for regressions. `weight` is (rows,) or None. A regression with a `quantile` is to answer
    that quantile of the target, by families that can; otherwise its mean.

    Columns of `encodings` hold mean labels, in `x` as if all rows were trained on; `label_encoding` computes those of a
    fold. `parts` are the groups of rows that do not see each other's labels, by default random ones.
    """

    x: Matrix
    y: Vector
    names: tuple[str, ...]
    task: Task
    categorical: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    n_classes: int = 0
    weight: Vector | None = None
    quantile: float | None = None
    encodings: tuple[LabelEncoding, ...] = ()
    parts: LabelParts | None = None

    def __len__(self) -> int:
        return len(self.y)

    def x_of(self, rows: Rows) -> Matrix:
        """The features of some rows: a view of neighbouring rows (as the folds in time order), otherwise a copy."""
        return self.x[span_of(rows) or rows]


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows and the folds on which every trial is scored; no row of the holdout is among them."""

    data: Data
    folds: tuple[Fold, ...]

    @property
    def fit_share(self) -> float:
        """The rows of one training on all rows, as a share of those that the trainings of all folds read together."""
        return len(self.data) / max(1, sum(len(fold.train) for fold in self.folds))


def average_repeats(rows: Rows, prediction: Prediction) -> tuple[Rows, Prediction]:
    """Each row once, with the mean of its predictions: ascending where a row is predicted repeatedly, otherwise as they
    are.

    >>> average_repeats(np.array([4, 2, 4]), np.array([0.1, 0.5, 0.3]))
    (array([2, 4]), array([0.5, 0.2]))
    """
    unique, place, times = np.unique(rows, return_inverse=True, return_counts=True)
    if len(unique) == len(rows):
        return rows, prediction
    total = np.zeros((len(unique), *prediction.shape[1:]))
    np.add.at(total, place, prediction)
    return unique, total / times.reshape(-1, *[1] * (prediction.ndim - 1))
