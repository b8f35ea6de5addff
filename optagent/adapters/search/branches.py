"""The branches of a study's space: each set of parameters that trials were asked together, such as one family's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

Space = dict[str, BaseDistribution]


@dataclass(frozen=True, slots=True)
class Branch:
    """What may vary, what is fixed (the choice that leads here), and the trials that fit into today's bounds."""

    space: Space
    fixed: Mapping[str, Any]
    ended: tuple[FrozenTrial, ...]
    pending: tuple[FrozenTrial, ...]

    @property
    def tried(self) -> int:
        return len(self.ended) + len(self.pending)


def branches_of(study: Study, trial: FrozenTrial) -> list[Branch]:
    """The branches seen so far that agree with what `trial` already holds; sorted, so that a seed means something.

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
    whole = {shape: trials for shape, trials in shapes.items() if not _being_asked(trials, shape, shapes)}
    switches = _switches(whole.values())
    found = (_branch(whole[shape], switches) for shape in sorted(whole, key=sorted))
    held = held_by(trial)
    return [branch for branch in found if _agrees(branch, held)]


def held_by(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters that a trial has before a sampler is asked: enqueued ones and those already suggested."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def untried(branches: Iterable[Branch]) -> list[dict[str, Any]]:
    """The choices that lead to a branch which no trial has taken yet."""
    taken: dict[str, set[Any]] = {}
    switch: Space = {}
    for branch in branches:
        for name, value in branch.fixed.items():
            taken.setdefault(name, set()).add(value)
            switch[name] = branch.space[name]
    return [
        {name: choice}
        for name, distribution in sorted(switch.items())
        if isinstance(distribution, CategoricalDistribution)
        for choice in distribution.choices
        if choice not in taken[name]
    ]


def _being_asked(trials: list[FrozenTrial], shape: frozenset[str], shapes: Iterable[frozenset[str]]) -> bool:
    """Whether these trials hold a part of their parameters only: another process is asking for the rest."""
    return all(trial.state == TrialState.RUNNING for trial in trials) and any(shape < other for other in shapes)


def _switches(shapes: Iterable[list[FrozenTrial]]) -> set[str]:
    """The categoricals that hold one value in each shape and differ between shapes: they choose the branch."""
    seen: list[dict[str, set[Any]]] = []
    for trials in shapes:
        values: dict[str, set[Any]] = {}
        for trial in trials:
            for name, distribution in trial.distributions.items():
                if isinstance(distribution, CategoricalDistribution):
                    values.setdefault(name, set()).add(trial.params[name])
        seen.append(values)
    names = set.intersection(*(set(values) for values in seen)) if seen else set()
    return {
        name
        for name in names
        if all(len(values[name]) == 1 for values in seen) and len(set.union(*(values[name] for values in seen))) > 1
    }


def _branch(trials: list[FrozenTrial], switches: set[str]) -> Branch:
    newest = trials[-1]
    space = {name: newest.distributions[name] for name in sorted(newest.distributions)}
    inside = [trial for trial in trials if _inside(trial, space)]
    return Branch(
        space=space,
        fixed={name: newest.params[name] for name in sorted(switches)},
        ended=tuple(trial for trial in inside if trial.state.is_finished()),
        pending=tuple(trial for trial in inside if trial.state == TrialState.RUNNING),
    )


def _inside(trial: FrozenTrial, space: Space) -> bool:
    for name, distribution in space.items():
        if trial.distributions[name] is distribution:
            continue
        try:
            if not distribution._contains(distribution.to_internal_repr(trial.params[name])):
                return False
        except ValueError:
            return False
    return True


def _agrees(branch: Branch, held: Mapping[str, Any]) -> bool:
    return all(held.get(name, value) == value for name, value in branch.fixed.items())
