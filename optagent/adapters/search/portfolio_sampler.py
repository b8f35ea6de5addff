"""Portfolio sampler: several samplers take turns on one study, and most turns go to those that contributed lately."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from optagent.adapters.search.trial_values import values_of

SUGGESTED_BY = "optagent:suggested_by"
_STARTUP = 10
_WINDOW = 60
_HALF_LIFE = 15.0
_STEEPNESS = 4
_BELIEF = 4.0
_SHARPNESS = 4
_LONGEST_WAIT = 60


@dataclass(frozen=True, slots=True)
class PortfolioMember:
    """A sampler, and the mean gain that is expected of its trials before any has run (a prior)."""

    make: Callable[[int], BaseSampler]
    expected: float


class PortfolioSampler(BaseSampler):
    """Each trial is suggested by one member and seen by all; the first member spreads the first trials.

    The name of the member is kept with each trial, so that a resumed study knows what each member has been worth.
    """

    def __init__(self, seed: int, members: Mapping[str, PortfolioMember]) -> None:
        self._seed = seed
        self._members = {name: member.make(seed) for name, member in members.items()}
        self._expected = {name: member.expected for name, member in members.items()}
        self._turns: dict[int, str] = {}

    def reseed_rng(self) -> None:
        self._seed = int(np.random.default_rng().integers(2**31))
        for member in self._members.values():
            member.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._member_for(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._member_for(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        return self._member_for(study, trial).sample_independent(study, trial, name, distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        name = self._turns.pop(trial.number, None)
        if name is not None:
            self._members[name].after_trial(study, trial, state, values)

    def _member_for(self, study: Study, trial: FrozenTrial) -> BaseSampler:
        if trial.number not in self._turns:
            name = self._choose_member(study, trial)
            if "fixed_params" not in trial.system_attrs:  # what was enqueued is no merit of a member
                study._storage.set_trial_system_attr(trial._trial_id, SUGGESTED_BY, name)
            self._turns[trial.number] = name
        return self._members[self._turns[trial.number]]

    def _choose_member(self, study: Study, trial: FrozenTrial) -> str:
        others = [
            other
            for other in study._get_trials(deepcopy=False, use_cache=False)
            if other.number != trial.number and other.state != TrialState.WAITING
        ]
        if len(others) < _STARTUP:
            return next(iter(self._members))
        rng = np.random.default_rng((self._seed, trial.number))
        gains = gains_of(others, values_of(others, study.directions, rng))
        return next_turn([other.system_attrs.get(SUGGESTED_BY) for other in others], gains, self._expected)


def gains_of(trials: Sequence[FrozenTrial], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gain of each trial: the share of earlier ones that it beats, to a power that leaves little to middling ones.

    NaN for a trial that counts for no member: it is pending, or came too early to compare.
    """
    gains = np.full(len(trials), np.nan)
    comparable = np.where(np.isfinite(values), values, -np.inf)
    for index in range(max(_STARTUP, len(trials) - _WINDOW), len(trials)):
        if trials[index].state.is_finished():
            earlier = comparable[:index]
            better = (comparable[index] > earlier).mean() if np.isfinite(values[index]) else 0.0
            gains[index] = better**_STEEPNESS
    return gains


def next_turn(suggested_by: Sequence[str | None], gains: NDArray[np.float64], expected: Mapping[str, float]) -> str:
    """The member to ask next: one that had no turn for long, or the one furthest behind its share of recent turns."""
    fade = 0.5 ** (np.arange(len(gains))[::-1] / _HALF_LIFE)
    turns = np.array([name if name in expected else "" for name in suggested_by])
    turns[:_STARTUP] = ""
    neglected = set(expected) - set(turns[-_LONGEST_WAIT:])
    if neglected and len(turns) >= _STARTUP + _LONGEST_WAIT:
        return min(neglected)
    past_turns = {name: float(fade[turns == name].sum()) for name in expected}
    share = _target_shares(turns, gains, fade, expected)
    total = 1.0 + sum(past_turns.values())
    return max(expected, key=lambda name: share[name] * total - past_turns[name])


def _target_shares(
    turns: NDArray[np.str_], gains: NDArray[np.float64], fade: NDArray[np.float64], expected: Mapping[str, float]
) -> dict[str, float]:
    """Each member's share of the turns: the faded mean of its gains, to a power that favours the best."""
    worth = {}
    for name, prior in expected.items():
        counted = (turns == name) & np.isfinite(gains)
        mean = (_BELIEF * prior + (fade * gains)[counted].sum()) / (_BELIEF + fade[counted].sum())
        worth[name] = float(mean) ** _SHARPNESS
    total = sum(worth.values())
    return {name: value / total for name, value in worth.items()}
