"""Column quality before any feature is made: constant columns, copies of another column, and columns that leak the
target."""

from dataclasses import dataclass

import numpy as np

from optagent.arrays import Mask, Matrix, Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import InvalidData
from optagent.features.collinearity import rank_correlation
from optagent.training.metrics import METRICS
from optagent.training.problem import Data

LEAK = 0.99
"""A column that alone reaches this AUC, or R², more likely contains the target than predicts it."""

_COPY = 0.9999
_BINS = 64
_MOST_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class ColumnQuality:
    """The defects of one column.

    `missing` is a share of rows. `alone` is the AUC (R² for a regression) of this column by itself on rows that its
    curve was not fitted on; None where it is undefined. `copy_of` is an earlier column with the same ranks.
    """

    name: str
    missing: float
    constant: bool
    copy_of: str | None
    alone: float | None

    @property
    def leaks(self) -> bool:
        return self.alone is not None and self.alone > LEAK

    @property
    def usable(self) -> bool:
        """True where features may be made of the column."""
        return not (self.constant or self.copy_of or self.leaks)


def column_qualities(data: Data) -> tuple[ColumnQuality, ...]:
    """The quality of each column, on at most 20,000 evenly spaced rows."""
    sample = slice(None, None, -(-len(data) // _MOST_ROWS) or 1)
    x, y = data.x[sample], data.y[sample]
    copies = _find_copies(x, data.names)
    return tuple(
        ColumnQuality(
            name=name,
            missing=float(np.isnan(x[:, index]).mean()),
            constant=len(np.unique(x[:, index])) < 2,  # missing counts as a value: that alone may tell something
            copy_of=copies.get(name),
            alone=_score_alone(x[:, index], y, data, index),
        )
        for index, name in enumerate(data.names)
    )


def _find_copies(x: Matrix, names: tuple[str, ...]) -> dict[str, str]:
    same = np.triu(np.abs(rank_correlation(x)) >= _COPY, 1)
    missing = np.isnan(x)
    copies: dict[str, str] = {}
    for first, second in np.argwhere(same):
        if names[first] not in copies and (missing[:, first] == missing[:, second]).all():
            copies.setdefault(names[second], names[first])
    return copies


def _score_alone(values: Matrix, y: Vector, data: Data, index: int) -> float | None:
    """The mean score over both halves of the rows, each predicted from the other."""
    half = np.arange(len(y)) % 2 == 0
    try:
        return float(np.mean([_score_other_rows(values, y, data, index, rows) for rows in (half, ~half)]))
    except InvalidData:
        return None


def _score_other_rows(values: Matrix, y: Vector, data: Data, index: int, learned: Mask) -> float:
    """The AUC, or R², on the rows that were not `learned` from."""
    metric = METRICS["r2" if data.task is Task.REGRESSION else "auc"]
    truth = y[~learned]
    score = metric.score(truth, _predict_by_bin(values, y, data, index, learned))
    if data.task is Task.REGRESSION and index not in data.categorical:
        score = max(score, metric.score(truth, _predict_monotone(values, y, learned)))
    return score


def _predict_by_bin(values: Matrix, y: Vector, data: Data, index: int, learned: Mask) -> Prediction:
    """The mean target of the learned rows in the same bin or category; missing values are a bin of their own."""
    if index in data.categorical:
        bins = np.where(np.isnan(values), -1, values).astype(np.int64) + 1
    else:
        present = values[learned & ~np.isnan(values)]
        edges = np.unique(np.quantile(present, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(present) else np.empty(0)
        bins = np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="right"))
    truth = y[:, None] if data.task is not Task.MULTICLASS else (y[:, None] == np.arange(data.n_classes)) * 1.0
    counts = np.bincount(bins[learned], minlength=int(bins.max()) + 1)[:, None]
    sums = np.stack([np.bincount(bins[learned], each, len(counts)) for each in truth[learned].T], axis=1)
    overall = truth[learned].mean(axis=0)
    rates = (sums + overall) / (counts + 1)
    prediction = rates[bins[~learned]]
    return prediction if data.task is Task.MULTICLASS else prediction[:, 0]


def _predict_monotone(values: Matrix, y: Vector, learned: Mask) -> Prediction:
    """A monotone curve, which is closer than bins where a column is the target itself or rises with it."""
    from sklearn.isotonic import IsotonicRegression

    usable = learned & ~np.isnan(values)
    if usable.sum() < 2:
        return np.full(int((~learned).sum()), y[learned].mean())
    rises = bool(np.dot(values[usable] - values[usable].mean(dtype=np.float64), y[usable]) >= 0)
    curve = IsotonicRegression(increasing=rises, out_of_bounds="clip").fit(values[usable], y[usable])
    unseen = values[~learned]
    present = ~np.isnan(unseen)
    prediction = np.full(len(unseen), y[learned].mean())
    if present.any():
        prediction[present] = curve.predict(unseen[present])
    return prediction
