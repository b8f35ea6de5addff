"""What is wrong with a column before anything is made of it: nothing in it, nothing new in it, or too much in it."""

from dataclasses import dataclass

import numpy as np

from optagent.arrays import Mask, Matrix, Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import InvalidData
from optagent.features.collinearity import rank_correlation
from optagent.training.metrics import METRICS
from optagent.training.problem import Data

LEAK = 0.99
"""A column that alone reaches this AUC, or R², is more likely to know the answer than to predict it."""

_COPY = 0.9999
_BINS = 64
_MOST_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class ColumnQuality:
    """`missing` is a share of rows. `alone` is the AUC (R² of a regression) of this column by itself on rows that its
    curve was not drawn from; None where it cannot be told. `copy_of` is an earlier column with the same ranks."""

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
        """Whether anything should be made of it."""
        return not (self.constant or self.copy_of or self.leaks)


def quality(data: Data) -> tuple[ColumnQuality, ...]:
    """Of each column, on at most 20,000 evenly spaced rows."""
    thin = slice(None, None, -(-len(data) // _MOST_ROWS) or 1)
    x, y = data.x[thin], data.y[thin]
    copies = _copies(x, data.names)
    return tuple(
        ColumnQuality(
            name=name,
            missing=float(np.isnan(x[:, index]).mean()),
            constant=len(np.unique(x[:, index])) < 2,  # missing counts as a value: that alone may tell something
            copy_of=copies.get(name),
            alone=_alone(x[:, index], y, data, index),
        )
        for index, name in enumerate(data.names)
    )


def _copies(x: Matrix, names: tuple[str, ...]) -> dict[str, str]:
    same = np.triu(np.abs(rank_correlation(x)) >= _COPY, 1)
    missing = np.isnan(x)
    found: dict[str, str] = {}
    for first, second in np.argwhere(same):
        if names[first] not in found and (missing[:, first] == missing[:, second]).all():
            found.setdefault(names[second], names[first])
    return found


def _alone(values: Matrix, y: Vector, data: Data, index: int) -> float | None:
    """The mean over both halves of the rows, each predicted by the other."""
    half = np.arange(len(y)) % 2 == 0
    try:
        return float(np.mean([_score(values, y, data, index, rows) for rows in (half, ~half)]))
    except InvalidData:
        return None


def _score(values: Matrix, y: Vector, data: Data, index: int, learned: Mask) -> float:
    metric = METRICS["r2" if data.task is Task.REGRESSION else "auc"]
    truth = y[~learned]
    found = metric.score(truth, _binned(values, y, data, index, learned))
    if data.task is Task.REGRESSION and index not in data.categorical:
        found = max(found, metric.score(truth, _monotone(values, y, learned)))
    return found


def _binned(values: Matrix, y: Vector, data: Data, index: int, learned: Mask) -> Prediction:
    """What the other rows of the same bin, or category, were; missing values are a bin of their own."""
    if index in data.categorical:
        bins = np.where(np.isnan(values), -1, values).astype(np.int64) + 1
    else:
        known = values[learned & ~np.isnan(values)]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else np.empty(0)
        bins = np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="right"))
    truth = y[:, None] if data.task is not Task.MULTICLASS else (y[:, None] == np.arange(data.n_classes)) * 1.0
    counts = np.bincount(bins[learned], minlength=int(bins.max()) + 1)[:, None]
    sums = np.stack([np.bincount(bins[learned], each, len(counts)) for each in truth[learned].T], axis=1)
    overall = truth[learned].mean(axis=0)
    rates = (sums + overall) / (counts + 1)
    said = rates[bins[~learned]]
    return said if data.task is Task.MULTICLASS else said[:, 0]


def _monotone(values: Matrix, y: Vector, learned: Mask) -> Prediction:
    """Closer than bins where a column is the target itself, or rises with it."""
    from sklearn.isotonic import IsotonicRegression

    known = learned & ~np.isnan(values)
    if known.sum() < 2:
        return np.full(int((~learned).sum()), y[learned].mean())
    rises = bool(np.dot(values[known] - values[known].mean(dtype=np.float64), y[known]) >= 0)
    curve = IsotonicRegression(increasing=rises, out_of_bounds="clip").fit(values[known], y[known])
    chosen = values[~learned]
    there = ~np.isnan(chosen)
    said = np.full(len(chosen), y[learned].mean())
    if there.any():
        said[there] = curve.predict(chosen[there])
    return said
