"""HyperOpt sampler: HyperOpt's tree of Parzen estimators over the trials of an Optuna study."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from optagent.adapters.search.branches import Branch, Space, branches_of, preset_parameters, untried_choices
from optagent.adapters.search.trial_values import values_of
from optagent.extras import require_library

_BRANCH = "branch"
_OBSERVATIONS = 400


class HyperoptSampler(BaseSampler):
    """Asks `hyperopt.tpe` with every trial of the study; the families are a choice, each with parameters of its own.

    Pending trials are passed as new ones, which HyperOpt counts among the bad.
    """

    def __init__(self, seed: int) -> None:
        require_library("hyperopt", "the sampler hyperopt")
        self._seed = seed
        self._random = RandomSampler(seed=seed)
        self._branches: list[Branch] = []

    def reseed_rng(self) -> None:
        self._seed = int(np.random.default_rng().integers(2**31))
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        self._branches = branches_of(study, trial)
        spaces = [branch.space.items() for branch in self._branches]
        return {name: item for space in spaces for name, item in space if not item.single()}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        from hyperopt import tpe
        from hyperopt.base import Domain, trials_from_docs

        branches = self._branches
        choices = [
            choice for choice in untried_choices(branches) if not choice.keys() & preset_parameters(trial).keys()
        ]
        if choices:
            return choices[0]
        nodes = [_nodes(index, branch) for index, branch in enumerate(branches)]
        if not any(nodes):
            return {}
        rng = np.random.default_rng((self._seed, trial.number))
        domain = Domain(None, _expression(nodes))
        docs = _docs(study, branches, rng)
        history = trials_from_docs(docs, validate=False)
        suggestion = tpe.suggest([trial.number], domain, history, int(rng.integers(2**31)), verbose=False)
        values = {label: draws[0] for label, draws in suggestion[0]["misc"]["vals"].items() if len(draws)}
        index = int(values.get(_BRANCH, 0))
        return {**_decode_parameters(index, branches[index], values), **branches[index].fixed}

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        return self._random.sample_independent(study, trial, name, distribution)


def _free_parameters(branch: Branch) -> Space:
    return {name: item for name, item in branch.space.items() if name not in branch.fixed and not item.single()}


def _label(index: int, name: str) -> str:
    return f"{index}:{name}"


def _nodes(index: int, branch: Branch) -> dict[str, Any]:
    return {name: _node(_label(index, name), item) for name, item in _free_parameters(branch).items()}


def _expression(nodes: Sequence[Mapping[str, Any]]) -> Any:
    from hyperopt import hp

    return nodes[0] if len(nodes) == 1 else hp.choice(_BRANCH, nodes)


def _node(label: str, distribution: BaseDistribution) -> Any:
    """HyperOpt's own distribution; steps and choices become indices, and rounded ends get their whole share."""
    from hyperopt import hp

    if isinstance(distribution, CategoricalDistribution):
        return hp.randint(label, len(distribution.choices))
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high = distribution.low, distribution.high
    if distribution.log:
        if isinstance(distribution, IntDistribution):
            return hp.qloguniform(label, math.log(low - 0.5), math.log(high + 0.5), 1)
        return hp.loguniform(label, math.log(low), math.log(high))
    if distribution.step is not None:
        return hp.quniform(label, -0.5, (high - low) / distribution.step + 0.5, 1)
    return hp.uniform(label, low, high)


def _encode_value(distribution: BaseDistribution, value: Any) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return int(distribution.to_internal_repr(value))
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if distribution.step is not None and not distribution.log:
        return float(round((value - distribution.low) / distribution.step))
    return float(value)


def _decode_parameters(index: int, branch: Branch, values: Mapping[str, float]) -> dict[str, Any]:
    return {name: _decode_value(item, values[_label(index, name)]) for name, item in _free_parameters(branch).items()}


def _decode_value(distribution: BaseDistribution, draw: float) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(draw)]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    value = float(draw)
    if distribution.step is not None and not distribution.log:
        value = distribution.low + value * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else value


def _docs(study: Study, branches: Sequence[Branch], rng: np.random.Generator) -> list[dict[str, Any]]:
    """The study's newest trials as HyperOpt's documents."""
    ended = [trial for branch in branches for trial in branch.ended]
    scored = zip(ended, values_of(ended, study.directions, rng), strict=True)
    loss = {trial.number: -value for trial, value in scored if math.isfinite(value)}
    numbered = ((index, trial) for index, branch in enumerate(branches) for trial in (*branch.ended, *branch.pending))
    newest = sorted(numbered, key=lambda pair: pair[1].number)[-_OBSERVATIONS:]
    return [_doc(index, trial, branches, loss.get(trial.number)) for index, trial in newest]


def _doc(index: int, trial: FrozenTrial, branches: Sequence[Branch], loss: float | None) -> dict[str, Any]:
    labels = [
        _label(branch_index, name) for branch_index, branch in enumerate(branches) for name in _free_parameters(branch)
    ]
    values: dict[str, list[float]] = {label: [] for label in labels}
    for name, item in _free_parameters(branches[index]).items():
        values[_label(index, name)] = [_encode_value(item, trial.params[name])]
    if len(branches) > 1:
        values[_BRANCH] = [index]
    number = trial.number
    misc = {"tid": number, "cmd": None, "workdir": None, "vals": values}
    misc["idxs"] = {label: [number] * len(draws) for label, draws in values.items()}
    return {
        "state": 1 if trial.state == TrialState.RUNNING else 2,
        "tid": number,
        "spec": None,
        "result": {"status": "new"} if loss is None else {"status": "ok", "loss": loss},
        "misc": misc,
        "exp_key": None,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
    }
