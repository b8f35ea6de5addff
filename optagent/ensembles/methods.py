"""Ensemble methods by name: the searches that learn weights, and the searches that each method tries."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from optagent.ensembles.greedy import Gains, greedy
from optagent.ensembles.members import Members
from optagent.ensembles.shares import weighted_mean
from optagent.ensembles.simplex import finest_resolution, simplex
from optagent.ensembles.slsqp import loss_for, slsqp
from optagent.ensembles.stack_loss import StackFeatures
from optagent.ensembles.stacking import stack
from optagent.ensembles.target import Target, gains
from optagent.ensembles.voting import hard_vote, soft_vote
from optagent.errors import InvalidRequest
from optagent.training.combined import Combined
from optagent.training.problem import Fold

GainsFor = Callable[[Members, Target], Gains]
"""Makes the gains function of members and a target: in this process, or with many that share the matrix."""

WITH_FEATURES = "stack_with_features"
"""The search that runs only where there are features."""

_COARSEST = 5
_GRID_POINTS = 2_000
_GRID_CELLS = 2e7  # points times rows: with any metric a few seconds


def gains_in_process(members: Members, target: Target) -> Gains:
    """Gains that are computed by the process that asks."""
    return partial(gains, members, target)


@dataclass(frozen=True, slots=True)
class LearningData:
    """The data that an ensemble is learned from; folds are positions among the members' rows."""

    members: Members
    target: Target
    folds: tuple[Fold, ...]
    features: StackFeatures | None = None
    gains_for: GainsFor = gains_in_process


def _greedy(learning: LearningData) -> Combined:
    compute_gains = learning.gains_for(learning.members, learning.target)
    return weighted_mean(learning.members, greedy(learning.members, learning.target, compute_gains=compute_gains))


def _simplex(learning: LearningData) -> Combined:
    limit = min(_GRID_POINTS, int(_GRID_CELLS / learning.members.rows))
    resolution = finest_resolution(len(learning.members), limit)
    if resolution < _COARSEST:
        raise InvalidRequest(f"{len(learning.members)} models of {learning.members.rows} rows are too many for a grid")
    return weighted_mean(learning.members, simplex(learning.members, learning.target, resolution))


def _slsqp(learning: LearningData) -> Combined:
    return weighted_mean(learning.members, slsqp(learning.members, loss_for(learning.members, learning.target)))


def _stack(learning: LearningData) -> Combined:
    return stack(learning.members, learning.target, learning.folds).stack


def _stack_with_features(learning: LearningData) -> Combined:
    return stack(learning.members, learning.target, learning.folds, learning.features).stack


SEARCHES: dict[str, Callable[[LearningData], Combined]] = {
    "greedy": _greedy,
    "simplex": _simplex,
    "slsqp": _slsqp,
    "stack": _stack,
    WITH_FEATURES: _stack_with_features,
    "soft_vote": lambda learning: soft_vote(learning.members),
    "hard_vote": lambda learning: hard_vote(learning.members),
}

METHODS: dict[str, tuple[str, ...]] = {
    "weighted": ("greedy", "simplex", "slsqp"),
    "stacking": ("stack", WITH_FEATURES),
    "voting": ("soft_vote", "hard_vote"),
    "auto": tuple(SEARCHES),
}


def searches_of(method: str) -> tuple[str, ...]:
    """Names of the searches of a method; raises InvalidRequest for an unknown method."""
    if method not in METHODS:
        raise InvalidRequest(f"unknown ensemble method {method!r}; one of {sorted(METHODS)}")
    return METHODS[method]
