"""A meta learner on out-of-fold predictions, held close to the plain mean of the members.

Logistic (softmax of several classes) or linear, its weights never negative and drawn towards equal ones: without that,
stacking on few rows did worse than the best single model. How strongly is chosen on folds, purged as those of the
members are, since a row whose label overlaps that of its neighbour would tell the answer (López de Prado 2018).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from optagent.ensembles.members import Members
from optagent.ensembles.stack_loss import StackFeatures, StackLoss
from optagent.ensembles.target import Target
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.combined import combine
from optagent.training.problem import Fold
from optagent.training.stack import Stack

PENALTIES = (10.0, 1.0, 0.1, 0.01, 0.001)
"""From all but the mean to all but free, in units of the loss."""


@dataclass(frozen=True, slots=True)
class FittedStack:
    """A stack fitted to all rows, the penalty that the folds chose, and its worth on their validation rows."""

    stack: Stack
    penalty: float
    out_of_fold: float


def stack(
    members: Members,
    target: Target,
    folds: Sequence[Fold],
    features: StackFeatures | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> FittedStack:
    """Fits on the training rows of each fold with each penalty, judges on its validation rows, then fits on all.

    `folds` are positions among the members' rows. Raises InvalidData where a fold trains on its validation rows.
    """
    if not penalties or min(penalties) <= 0:
        raise InvalidRequest(f"penalties must be above 0, got {tuple(penalties)}")
    if features is not None and len(features.x) != members.rows:
        raise InvalidData(f"features of {len(features.x)} rows for predictions of {members.rows}")
    _check(folds, members.rows)
    falling = sorted(penalties, reverse=True)
    worths = np.mean([_worths(members, target, fold, features, falling) for fold in folds], axis=0)
    best = int(np.argmax(worths))
    (fitted,) = _fits(StackLoss(members, features), [falling[best]])
    return FittedStack(fitted, falling[best], float(worths[best]))


def _worths(
    members: Members, target: Target, fold: Fold, features: StackFeatures | None, penalties: Sequence[float]
) -> list[float]:
    train, valid = members.at(fold.train), members.at(fold.valid)
    seen, unseen = (None if features is None else features.at(rows) for rows in (fold.train, fold.valid))
    x = None if unseen is None else unseen.x
    fits = _fits(StackLoss(train, seen), penalties)
    return [target.worth(valid.y, combine(one, valid.by_member(), x)) for one in fits]


def _fits(loss: StackLoss, penalties: Sequence[float]) -> Iterator[Stack]:
    """The stack of each penalty, each search starting where the last one ended."""
    from scipy.optimize import minimize

    theta = loss.start
    for penalty in penalties:
        found = minimize(loss, theta, (penalty,), jac=True, method="L-BFGS-B", bounds=loss.bounds)
        if not np.isfinite(found.x).all():
            raise InvalidData(f"the stack has no finite weights: {found.message}")
        theta = found.x
        yield loss.stack_of(theta)


def _check(folds: Sequence[Fold], rows: int) -> None:
    if not folds:
        raise InvalidData("stacking needs folds to choose its penalty on")
    for number, fold in enumerate(folds, 1):
        if not len(fold.train) or not len(fold.valid):
            raise InvalidData(f"fold {number}: no row to {'train on' if not len(fold.train) else 'judge by'}")
        if max(fold.train.max(), fold.valid.max()) >= rows:
            raise InvalidData(f"fold {number}: a row beyond the {rows} that the members have predicted")
        if np.intersect1d(fold.train, fold.valid).size:
            raise InvalidData(f"fold {number}: rows to judge by are among those to train on")
