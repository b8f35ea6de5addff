"""The ways to make an ensemble, by name, and which of them a method tries."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from optagent.ensembles.greedy import Gains, greedy
from optagent.ensembles.members import Members
from optagent.ensembles.shares import weighted_mean
from optagent.ensembles.simplex import finest, simplex
from optagent.ensembles.slsqp import loss_for, slsqp
from optagent.ensembles.stack_loss import StackFeatures
from optagent.ensembles.stacking import stack
from optagent.ensembles.target import Target, gains
from optagent.ensembles.voting import hard_vote, soft_vote
from optagent.errors import InvalidRequest
from optagent.training.combined import Combined
from optagent.training.problem import Fold

GainsFor = Callable[[Members, Target], Gains]
"""Gains of members and a target, ready to be asked: in this process, or by many that share the matrix."""

WITH_FEATURES = "stack_with_features"
"""The search that is made only where there are features."""

_COARSEST = 5
_GRID_POINTS = 2_000
_GRID_CELLS = 2e7  # points times rows: with any metric a few seconds


def gains_in_process(members: Members, target: Target) -> Gains:
    """Gains that are computed by the process that asks."""
    return partial(gains, members, target)


@dataclass(frozen=True, slots=True)
class LearningData:
    """What an ensemble is learned from; folds are positions among the members' rows."""

    members: Members
    target: Target
    folds: tuple[Fold, ...]
    features: StackFeatures | None = None
    gains_for: GainsFor = gains_in_process


def _greedy(ground: LearningData) -> Combined:
    ask = ground.gains_for(ground.members, ground.target)
    return weighted_mean(ground.members, greedy(ground.members, ground.target, ask=ask))


def _simplex(ground: LearningData) -> Combined:
    limit = min(_GRID_POINTS, int(_GRID_CELLS / ground.members.rows))
    resolution = finest(len(ground.members), limit)
    if resolution < _COARSEST:
        raise InvalidRequest(f"{len(ground.members)} models of {ground.members.rows} rows are too many for a grid")
    return weighted_mean(ground.members, simplex(ground.members, ground.target, resolution))


def _slsqp(ground: LearningData) -> Combined:
    return weighted_mean(ground.members, slsqp(ground.members, loss_for(ground.members, ground.target)))


def _stack(ground: LearningData) -> Combined:
    return stack(ground.members, ground.target, ground.folds).stack


def _stack_with_features(ground: LearningData) -> Combined:
    return stack(ground.members, ground.target, ground.folds, ground.features).stack


SEARCHES: dict[str, Callable[[LearningData], Combined]] = {
    "greedy": _greedy,
    "simplex": _simplex,
    "slsqp": _slsqp,
    "stack": _stack,
    WITH_FEATURES: _stack_with_features,
    "soft_vote": lambda ground: soft_vote(ground.members),
    "hard_vote": lambda ground: hard_vote(ground.members),
}

METHODS: dict[str, tuple[str, ...]] = {
    "weighted": ("greedy", "simplex", "slsqp"),
    "stacking": ("stack", WITH_FEATURES),
    "voting": ("soft_vote", "hard_vote"),
    "auto": tuple(SEARCHES),
}


def searches_of(method: str) -> tuple[str, ...]:
    """Names of the searches of a method; raises InvalidRequest for an unknown one."""
    if method not in METHODS:
        raise InvalidRequest(f"unknown ensemble method {method!r}; one of {sorted(METHODS)}")
    return METHODS[method]
