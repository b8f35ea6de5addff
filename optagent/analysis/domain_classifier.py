"""Domain classifier: a small model that tries to tell reference rows from current ones, for drift across columns."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from optagent.analysis.bootstrap import Resampling, bootstrap_interval
from optagent.analysis.observed_rows import ObservedRows
from optagent.arrays import Matrix, Prediction, Rows, Vector
from optagent.domain.drift import Separability, SeparabilityReport
from optagent.domain.study import Interval
from optagent.errors import InvalidData, InvalidRequest

_FEWEST_ROWS = 100
_LAST_CODE = 254  # the highest that the model takes


@dataclass(frozen=True, slots=True)
class DomainRule:
    """`margin` above one half is the area that counts as separable; `most_rows` are of each side."""

    margin: float = 0.05
    most_rows: int = 5000
    folds: int = 5
    rounds: int = 50
    resamples: int = 500
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 0.5:
            raise InvalidRequest(f"margin must be at least 0 and below 0.5, got {self.margin!r}")
        if self.folds < 2 or self.most_rows < _FEWEST_ROWS:
            raise InvalidRequest(f"at least 2 folds and {_FEWEST_ROWS} rows, got {self.folds} and {self.most_rows}")


def separability(
    reference: ObservedRows, current: ObservedRows, seed: int, rule: DomainRule | None = None
) -> SeparabilityReport:
    """The report of a classifier of the two sides, scored out of fold by blocks of time.

    Blocks of time keep the neighbours of a row from giving it away.

    Dates are left out, since they tell the two apart for sure. `SEPARABLE` where the whole interval of the area is
    above .5 + margin, `ALIKE` where it is below, `INCONCLUSIVE` otherwise, or with too few rows.
    """
    rule = rule or DomainRule()
    if reference.columns != current.columns:
        raise InvalidData("reference and current rows are of different columns")
    then, now = (_evenly_spaced(observed, rule.most_rows) for observed in (reference, current))
    varying = _varying_columns(reference, np.concatenate([then, now]))
    if min(len(then), len(now)) < _FEWEST_ROWS or not len(varying):
        few = f"at least {_FEWEST_ROWS} rows a side are needed" if len(varying) else "no column varies"
        return SeparabilityReport(Separability.INCONCLUSIVE, len(then), len(now), reason=few)
    x = np.concatenate([then, now])[:, varying]
    y = np.repeat([0.0, 1.0], [len(then), len(now)])
    categorical = np.array([reference.columns[column].kind == "categorical" for column in varying])
    x[:, categorical] = np.minimum(x[:, categorical], _LAST_CODE)
    # So small a model waits longer for its threads than they save: 40 times as long on a busy machine.
    with threadpool_limits(1):
        score, falls = _out_of_fold(x, y, categorical, seed, rule)
    how = Resampling(rule.resamples, seed, time_ordered=True)
    auc = bootstrap_interval(_auc, y, score, rule.alpha, how, _auc_of_resamples)
    order = np.argsort(-falls, kind="stable")
    importances = {reference.columns[varying[place]].name: float(falls[place]) for place in order}
    return SeparabilityReport(_verdict(auc, rule.margin), len(then), len(now), auc, importances)


def _evenly_spaced(observed: ObservedRows, most: int) -> Matrix:
    """(rows, columns) of at most `most` rows at even distances in time order."""
    if len(observed) <= most:
        return observed.x
    return observed.x[np.linspace(0, len(observed) - 1, most).astype(np.int64)]


def _varying_columns(observed: ObservedRows, x: Matrix) -> Rows:
    """The places of the columns that vary and are no dates."""
    if not len(x):
        return np.empty(0, dtype=np.int64)
    varies = ~((x == x[0]) | (np.isnan(x) & np.isnan(x[0]))).all(axis=0)
    dated = np.array([column.kind == "datetime" for column in observed.columns], dtype=np.bool_)
    return np.flatnonzero(varies & ~dated)


def _folds(y: Vector, folds: int) -> Iterator[tuple[Rows, Rows]]:
    """Train and held-out rows: the held-out ones are one stretch of each side."""
    place = np.concatenate([np.arange(rows) * folds // rows for rows in np.bincount(y.astype(np.int64)).tolist()])
    for fold in range(folds):
        yield np.flatnonzero(place != fold), np.flatnonzero(place == fold)


def _out_of_fold(
    x: Matrix, y: Vector, categorical: npt.NDArray[np.bool_], seed: int, rule: DomainRule
) -> tuple[Prediction, Vector]:
    """(rows,) chances of being current, and (columns,) falls of the area when a column is shuffled."""
    score = np.empty(len(y))
    falls = np.zeros(x.shape[1])
    for train, held_out in _folds(y, rule.folds):
        model = HistGradientBoostingClassifier(
            max_iter=rule.rounds,
            max_leaf_nodes=15,
            categorical_features=categorical,
            class_weight="balanced",
            early_stopping=False,
            random_state=seed,
        ).fit(x[train], y[train])
        score[held_out] = model.predict_proba(x[held_out])[:, 1]
        importance = permutation_importance(
            model, x[held_out], y[held_out], scoring="roc_auc", n_repeats=1, random_state=seed
        )
        falls += importance.importances_mean / rule.folds
    return score, falls


def _verdict(auc: Interval, margin: float) -> Separability:
    if auc.low > 0.5 + margin:
        return Separability.SEPARABLE
    return Separability.ALIKE if auc.high < 0.5 + margin else Separability.INCONCLUSIVE


def _auc(y: Vector, score: Prediction) -> float:
    return float(roc_auc_score(y, score))


def _auc_of_resamples(y: Vector, score: Prediction) -> Callable[[Vector], Vector]:
    """The area of (resamples, rows) counts at once: pairs in the right order, ties half."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(score[order]) > 0))
    positive = y[order] == 1

    def areas(counts: Vector) -> Vector:
        ordered = counts[:, order]
        plus = np.add.reduceat(np.where(positive, ordered, 0.0), starts, axis=1)
        minus = np.add.reduceat(np.where(positive, 0.0, ordered), starts, axis=1)
        pairs = (plus * (minus.cumsum(axis=1) - minus / 2)).sum(axis=1)
        total = plus.sum(axis=1) * minus.sum(axis=1)
        return np.divide(pairs, total, out=np.full(len(total), np.nan), where=total > 0)

    return areas
