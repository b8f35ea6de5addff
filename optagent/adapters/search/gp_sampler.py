"""Gaussian process sampler: Bayesian optimization as an Optuna sampler, without torch."""

import math
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy.stats import qmc
from sklearn.gaussian_process.kernels import Kernel
from threadpoolctl import ThreadpoolController

from optagent.adapters.search.branches import Branch, Space, branches_of, preset_parameters, untried_choices
from optagent.adapters.search.gp_model import GPModel, Values, initial_kernel, propose_point
from optagent.adapters.search.trial_values import values_of
from optagent.adapters.search.unit_cube import Points, UnitCube

_STARTUP = 10
_STARTUP_A_BRANCH = 4
_OBSERVATIONS = 200
_EVERY_KERNEL = 60
_TOP, _TOP_SHARE = 3, 0.1


class GPSampler(BaseSampler):
    """Suggests where a Gaussian process expects the largest improvement.

    A study of several families has a model a family: first a family is chosen, then its own parameters, from its own
    trials. A suggestion depends on the seed and the number of the trial, not on what this object drew before.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = RandomSampler(seed=seed)
        self._kernels: dict[tuple[str, ...], tuple[int, Kernel]] = {}
        self._branches: list[Branch] = []

    def reseed_rng(self) -> None:
        self._seed = int(np.random.default_rng().integers(2**31))
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        self._branches = branches_of(study, trial)
        spaces = [branch.space.items() for branch in self._branches]
        return {name: item for space in spaces for name, item in space if not item.single()}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        branches = self._branches
        if not branches:
            return {}
        preset = preset_parameters(trial)
        if any(branch.space.keys() <= preset.keys() for branch in branches):
            return {}  # nothing is left to suggest
        choices = [choice for choice in untried_choices(branches) if not choice.keys() & preset.keys()]
        if choices:
            return choices[0]
        rng = np.random.default_rng((self._seed, trial.number))
        with _thread_pools().limit(limits=1):  # the other cores are busy with training
            return self._suggest(study, branches, rng)

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        return self._random.sample_independent(study, trial, name, distribution)

    def _suggest(self, study: Study, branches: Sequence[Branch], rng: np.random.Generator) -> dict[str, Any]:
        enough = max(_STARTUP_A_BRANCH, math.ceil(_STARTUP / len(branches)))
        least_tried = min(branches, key=lambda branch: branch.trial_count)
        values = values_of([trial for branch in branches for trial in branch.ended], study.directions, rng)
        if least_tried.trial_count < enough or np.isfinite(values).sum() < 2:
            return {**self._suggest_by_sobol(least_tried), **least_tried.fixed}
        ends = np.cumsum([len(branch.ended) for branch in branches])[:-1]
        values_by_branch = np.split(_standardise(values), ends)
        index = _draw_branch(values_by_branch, rng)
        return {**self._suggest_by_model(branches[index], values_by_branch[index], rng), **branches[index].fixed}

    def _suggest_by_sobol(self, branch: Branch) -> dict[str, Any]:
        """The next point of a scrambled Sobol sequence."""
        cube = _free_cube(branch)
        if not cube.dimensions:
            return {}
        sequence = qmc.Sobol(cube.dimensions, seed=self._seed).fast_forward(branch.trial_count)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # balance at powers of two does not matter here
            return cube.decode(sequence.random(1)[0])

    def _suggest_by_model(self, branch: Branch, values: Values, rng: np.random.Generator) -> dict[str, Any]:
        cube = _free_cube(branch)
        if not cube.dimensions:
            return {}
        if not len(values):
            return self._suggest_by_sobol(branch)
        selected = _select_observations(values)
        points = cube.encode(branch.ended[index].params for index in selected)
        model = self._fit_model(tuple(cube.names), points, values[selected], len(values))
        pending = cube.encode(trial.params for trial in branch.pending)
        return cube.decode(propose_point(model.fantasize(pending), cube, rng))

    def _fit_model(self, key: tuple[str, ...], points: Points, values: Values, trials: int) -> GPModel:
        """Fits on from the branch's last kernel; with many observations the kernel is searched for only at times."""
        before, kernel = self._kernels.get(key, (0, initial_kernel(points.shape[1])))
        if kernel.k1.k2.length_scale.shape != points.shape[1:]:  # another space: the axes are not the same
            before, kernel = 0, initial_kernel(points.shape[1])
        search = trials < _EVERY_KERNEL or trials - before > trials // 20
        model = GPModel.fit(points, values, kernel, search)
        if search:
            self._kernels[key] = (trials, model.kernel)
        return model


@cache
def _thread_pools() -> ThreadpoolController:
    """The native libraries that start threads, looked up once since each look takes milliseconds."""
    return ThreadpoolController()


def _free_cube(branch: Branch) -> UnitCube:
    return UnitCube({name: item for name, item in branch.space.items() if name not in branch.fixed})


def _standardise(values: Values) -> Values:
    """Standardises; values far below the median are clipped, and a failed trial is as bad as the worst one."""
    finite = values[np.isfinite(values)]
    unit = max(float(np.abs(finite).max()), 1e-300)
    finite = finite / unit
    quarter, median = np.quantile(finite, [0.25, 0.5])
    floor = max(float(finite.min()), median - 5 * max(median - quarter, 1e-12))
    clipped = np.maximum(np.where(np.isfinite(values), values / unit, floor), floor)
    standard: Values = (clipped - clipped.mean()) / (clipped.std() + 1e-12)
    return standard


def _draw_branch(values: Sequence[Values], rng: np.random.Generator) -> int:
    """The index of a branch, drawn in proportion to one plus its number of trials among the best tenth of all.

    The draw explores at first, and follows the best later.
    Measured on eight mixes of four surrogates with equal trials: better than the branch of the largest expected
    improvement (a model of few trials overstates it), than UCB on the best values, and than Optuna's grouped TPE.
    """
    ranked = np.sort(np.concatenate(values))
    bar = ranked[-min(len(ranked), max(_TOP, math.ceil(_TOP_SHARE * len(ranked))))]
    counts = np.array([1.0 + (branch_values >= bar).sum() for branch_values in values])
    return int(rng.choice(len(counts), p=counts / counts.sum()))


def _select_observations(values: Values) -> NDArray[np.intp]:
    """The indices of the values to fit: all, or half the best and half the newest where a fit cannot take all."""
    if len(values) <= _OBSERVATIONS:
        return np.arange(len(values))
    half = _OBSERVATIONS // 2
    return np.unique(np.concatenate([np.argsort(-values)[:half], np.arange(len(values) - half, len(values))]))
