"""Stacking: a meta learner on out-of-fold predictions, held close to the plain mean of the members.

It is logistic (softmax for several classes) or linear, with weights that are never negative and are shrunk towards
equal ones: without that, stacking on few rows did worse than the best single model. The strength of the penalty is
chosen on folds, purged like those of the members, since a row whose label overlaps that of its neighbour would leak the
answer (López de Prado 2018).
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
"""From almost the plain mean to almost no penalty, in units of the loss."""


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
    """Fits on the training rows of each fold with each penalty, scores on its validation rows, then fits on all rows.

    `folds` are positions among the members' rows. Raises InvalidData where a fold trains on its validation rows.
    """
    if not penalties or min(penalties) <= 0:
        raise InvalidRequest(f"penalties must be above 0, got {tuple(penalties)}")
    if features is not None and len(features.x) != members.rows:
        raise InvalidData(f"features of {len(features.x)} rows for predictions of {members.rows}")
    _check_folds(folds, members.rows)
    falling = sorted(penalties, reverse=True)
    worths = np.mean([_worth_by_penalty(members, target, fold, features, falling) for fold in folds], axis=0)
    best = int(np.argmax(worths))
    (fitted,) = _fit_penalties(StackLoss(members, features), [falling[best]])
    return FittedStack(fitted, falling[best], float(worths[best]))


def _worth_by_penalty(
    members: Members, target: Target, fold: Fold, features: StackFeatures | None, penalties: Sequence[float]
) -> list[float]:
    train, valid = members.select_rows(fold.train), members.select_rows(fold.valid)
    train_features, valid_features = (
        None if features is None else features.select_rows(rows) for rows in (fold.train, fold.valid)
    )
    x = None if valid_features is None else valid_features.x
    fits = _fit_penalties(StackLoss(train, train_features), penalties)
    return [target.worth(valid.y, combine(fitted, valid.by_member(), x)) for fitted in fits]


def _fit_penalties(loss: StackLoss, penalties: Sequence[float]) -> Iterator[Stack]:
    """The stack of each penalty, each search starting where the last one ended."""
    from scipy.optimize import minimize

    theta = loss.start
    for penalty in penalties:
        optimum = minimize(loss, theta, (penalty,), jac=True, method="L-BFGS-B", bounds=loss.bounds)
        if not np.isfinite(optimum.x).all():
            raise InvalidData(f"the stack has no finite weights: {optimum.message}")
        theta = optimum.x
        yield loss.stack_of(theta)


def _check_folds(folds: Sequence[Fold], rows: int) -> None:
    if not folds:
        raise InvalidData("stacking needs folds to choose its penalty on")
    for number, fold in enumerate(folds, 1):
        if not len(fold.train) or not len(fold.valid):
            raise InvalidData(f"fold {number}: no row to {'train on' if not len(fold.train) else 'judge by'}")
        if max(fold.train.max(), fold.valid.max()) >= rows:
            raise InvalidData(f"fold {number}: a row beyond the {rows} that the members have predicted")
        if np.intersect1d(fold.train, fold.valid).size:
            raise InvalidData(f"fold {number}: rows to judge by are among those to train on")
