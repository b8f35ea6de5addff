"""Whether a feature makes the model better: trained with and without it, on rows of its own search, loss by loss."""

from collections.abc import Sequence

import numpy as np

from optagent.analysis.bootstrap import block_length
from optagent.arrays import Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import Infeasible
from optagent.features.context import FeatureSearchContext
from optagent.features.fit import fit_plan
from optagent.training.families.family import Cache
from optagent.training.plan import GROUPED, Step
from optagent.training.problem import Data, Fold
from optagent.training.transform import transformed

Steps = tuple[Step, ...]

_OF_USE = 0.5
"""Standard errors by which the loss must fall: every step is beyond chance already, this asks whether it is of use."""
_SURE = 3.0
"""Standard errors, of either sign, after which no further fold is asked."""
_CUT = 0.99  # of the sizes of gains: single rows decide nothing
_MOST_TRIES = 12
_EPS = 1e-7


def useful(work: FeatureSearchContext, data: Data, folds: Sequence[Fold], steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps that lower the loss on validation rows, each in its turn beside those before; at most 12 are tried."""
    trained = _Trained(work, data)
    kept: tuple[Step, ...] = ()
    for step in steps[:_MOST_TRIES]:
        if work.late():
            break
        if _gain(trained, folds, kept, (*kept, step), work.how.time_ordered) > _OF_USE:
            kept = (*kept, step)
    return kept


def standard_errors(gains: Vector, ordered: bool) -> float:
    """The mean gain in its standard errors, without the largest; neighbours in time order are taken together."""
    most = np.quantile(np.abs(gains), _CUT)
    gains = np.clip(gains, -most, most)
    block = block_length(len(gains)) if ordered else 1
    means = gains[: len(gains) // block * block].reshape(-1, block).mean(axis=1)
    spread = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    return float(means.mean()) / spread * len(means) ** 0.5 if spread > 0 else 0.0


def _gain(trained: "_Trained", folds: Sequence[Fold], before: Steps, after: Steps, ordered: bool) -> float:
    """In standard errors; 0 where no fold can be trained."""
    gains = [np.empty(0)]
    for fold in folds:
        try:
            gains.append(trained.losses(fold, before) - trained.losses(fold, after))
        except Infeasible:
            continue
        if abs(standard_errors(np.concatenate(gains), ordered)) > _SURE:
            break
    together = np.concatenate(gains)
    return standard_errors(together, ordered) if len(together) else 0.0


class _Trained:
    """Losses by fold and steps, each trained once; the binned data of the last steps is kept."""

    def __init__(self, work: FeatureSearchContext, data: Data) -> None:
        self._work, self._data = work, data
        self._losses: dict[tuple[int, Steps], Vector] = {}
        self._made: tuple[Steps, Data, Cache] | None = None

    def losses(self, fold: Fold, steps: Steps) -> Vector:
        """By validation row; raises Infeasible."""
        key = id(fold), steps
        if key not in self._losses:
            made, cache = self._with(steps, fold)
            prediction, _ = self._work.learner.train(made, fold, cache)
            self._losses[key] = _row_losses(self._data.y[fold.valid], prediction, self._data.task)
        return self._losses[key]

    def _with(self, steps: Steps, fold: Fold) -> tuple[Data, Cache | None]:
        """Means of groups are those of the fold's training rows; without any, all folds share one matrix."""
        if any(isinstance(step, GROUPED) for step in steps):
            return transformed(fit_plan(self._data, steps, fold.train), self._data), None
        if self._made is None or self._made[0] != steps:
            self._made = steps, transformed(fit_plan(self._data, steps), self._data), {}
        return self._made[1:]


def _row_losses(y: Vector, prediction: Prediction, task: Task) -> Vector:
    """Squared errors, or minus the logarithm of the probability of what came."""
    if task is Task.REGRESSION:
        return np.square(y - prediction)
    if prediction.ndim == 1:
        chosen = np.where(y == 1, prediction, 1 - prediction)
    else:
        chosen = prediction[np.arange(len(y)), y.astype(np.int64)]
    return -np.log(np.clip(chosen, _EPS, 1.0))
