"""Branches of a conditional search space: each set of parameters that is asked together, such as one family's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

Space = dict[str, BaseDistribution]


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch's space, the fixed choice that leads to it, and its trials that lie within the current bounds."""

    space: Space
    fixed: Mapping[str, Any]
    ended: tuple[FrozenTrial, ...]
    pending: tuple[FrozenTrial, ...]

    @property
    def trial_count(self) -> int:
        return len(self.ended) + len(self.pending)


def branches_of(study: Study, trial: FrozenTrial) -> list[Branch]:
    """The branches of earlier trials that agree with the preset parameters of `trial`, sorted so that seeds repeat.

    The bounds are those of the newest trial of a branch: an older trial outside of them does not count.
    """
    others = [
        other
        for other in study._get_trials(deepcopy=False, use_cache=False)
        if other.number != trial.number and other.state != TrialState.WAITING and other.distributions
    ]
    shapes: dict[frozenset[str], list[FrozenTrial]] = {}
    for other in others:
        shapes.setdefault(frozenset(other.distributions), []).append(other)
    complete = {shape: trials for shape, trials in shapes.items() if not _is_incomplete(trials, shape, shapes)}
    switches = _switches(complete.values())
    branches = (_branch(complete[shape], switches) for shape in sorted(complete, key=sorted))
    preset = preset_parameters(trial)
    return [branch for branch in branches if _agrees_with(branch, preset)]


def preset_parameters(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters that a trial has before a sampler is asked: enqueued ones and those already suggested."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def untried_choices(branches: Iterable[Branch]) -> list[dict[str, Any]]:
    """The choices that lead to branches which no trial has taken yet, one dictionary a choice."""
    tried: dict[str, set[Any]] = {}
    switches: Space = {}
    for branch in branches:
        for name, value in branch.fixed.items():
            tried.setdefault(name, set()).add(value)
            switches[name] = branch.space[name]
    return [
        {name: choice}
        for name, distribution in sorted(switches.items())
        if isinstance(distribution, CategoricalDistribution)
        for choice in distribution.choices
        if choice not in tried[name]
    ]


def _is_incomplete(trials: list[FrozenTrial], shape: frozenset[str], shapes: Iterable[frozenset[str]]) -> bool:
    """True where these trials hold only a part of their parameters, as another process is asking for the rest."""
    return all(trial.state == TrialState.RUNNING for trial in trials) and any(shape < other for other in shapes)


def _switches(shapes: Iterable[list[FrozenTrial]]) -> set[str]:
    """The categoricals that hold one value in each shape and differ between shapes: they choose the branch."""
    values_by_shape: list[dict[str, set[Any]]] = []
    for trials in shapes:
        values: dict[str, set[Any]] = {}
        for trial in trials:
            for name, distribution in trial.distributions.items():
                if isinstance(distribution, CategoricalDistribution):
                    values.setdefault(name, set()).add(trial.params[name])
        values_by_shape.append(values)
    names = set.intersection(*(set(values) for values in values_by_shape)) if values_by_shape else set()
    return {
        name
        for name in names
        if all(len(values[name]) == 1 for values in values_by_shape)
        and len(set.union(*(values[name] for values in values_by_shape))) > 1
    }


def _branch(trials: list[FrozenTrial], switches: set[str]) -> Branch:
    newest = trials[-1]
    space = {name: newest.distributions[name] for name in sorted(newest.distributions)}
    inside = [trial for trial in trials if _is_within(trial, space)]
    return Branch(
        space=space,
        fixed={name: newest.params[name] for name in sorted(switches)},
        ended=tuple(trial for trial in inside if trial.state.is_finished()),
        pending=tuple(trial for trial in inside if trial.state == TrialState.RUNNING),
    )


def _is_within(trial: FrozenTrial, space: Space) -> bool:
    for name, distribution in space.items():
        if trial.distributions[name] is distribution:
            continue
        try:
            if not distribution._contains(distribution.to_internal_repr(trial.params[name])):
                return False
        except ValueError:
            return False
    return True


def _agrees_with(branch: Branch, preset: Mapping[str, Any]) -> bool:
    return all(preset.get(name, value) == value for name, value in branch.fixed.items())
