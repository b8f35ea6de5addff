"""Ablation test of features: the model is trained with and without each, on rows of its own search, and the losses are
compared row by row."""

from collections.abc import Sequence

import numpy as np

from optagent.analysis.block_length import cube_root_length
from optagent.arrays import Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import Infeasible
from optagent.features.context import FeatureSearchContext
from optagent.features.fit import fit_plan
from optagent.training.families.family import Cache
from optagent.training.problem import Data, Fold
from optagent.training.steps import FITTED, Step
from optagent.training.transform import transform_data

Steps = tuple[Step, ...]

_USEFUL_GAIN = 0.5
"""Standard errors by which the loss must fall: every step is beyond chance already, and this asks for a real gain."""
_CERTAIN_GAIN = 3.0
"""Standard errors, of either sign, after which no further fold is trained."""
_CLIP_QUANTILE = 0.99  # of the absolute gains, so that single rows decide nothing
_MOST_TRIES = 12
_EPS = 1e-7


def useful_steps(
    context: FeatureSearchContext, data: Data, folds: Sequence[Fold], steps: Sequence[Step]
) -> tuple[Step, ...]:
    """The steps that lower the loss on validation rows. Each is tried in its turn beside those accepted before; at most
    12 are tried."""
    losses = _StepLosses(context, data)
    accepted: tuple[Step, ...] = ()
    for step in steps[:_MOST_TRIES]:
        if context.late():
            break
        if _t_statistic_of_steps(losses, folds, accepted, (*accepted, step), context.how.time_ordered) > _USEFUL_GAIN:
            accepted = (*accepted, step)
    return accepted


def t_statistic(gains: Vector, ordered: bool) -> float:
    """The mean gain divided by its standard error, with the largest gains clipped; in time order, neighbours form one
    block."""
    limit = np.quantile(np.abs(gains), _CLIP_QUANTILE)
    gains = np.clip(gains, -limit, limit)
    block = cube_root_length(len(gains)) if ordered else 1
    means = gains[: len(gains) // block * block].reshape(-1, block).mean(axis=1)
    spread = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    return float(means.mean()) / spread * len(means) ** 0.5 if spread > 0 else 0.0


def _t_statistic_of_steps(
    step_losses: "_StepLosses", folds: Sequence[Fold], before: Steps, after: Steps, ordered: bool
) -> float:
    """The gain of `after` over `before` in standard errors; 0 where no fold can be trained."""
    gains = [np.empty(0)]
    for fold in folds:
        try:
            gains.append(step_losses.losses(fold, before) - step_losses.losses(fold, after))
        except Infeasible:
            continue
        if abs(t_statistic(np.concatenate(gains), ordered)) > _CERTAIN_GAIN:
            break
    pooled = np.concatenate(gains)
    return t_statistic(pooled, ordered) if len(pooled) else 0.0


class _StepLosses:
    """Losses by fold and steps, each trained once; the transformed data and bins of the last steps are cached."""

    def __init__(self, context: FeatureSearchContext, data: Data) -> None:
        self._context, self._data = context, data
        self._losses: dict[tuple[int, Steps], Vector] = {}
        self._last_transform: tuple[Steps, Data, Cache] | None = None

    def losses(self, fold: Fold, steps: Steps) -> Vector:
        """The loss of each validation row; raises Infeasible."""
        key = id(fold), steps
        if key not in self._losses:
            transformed_data, cache = self._transform(steps, fold)
            prediction, _ = self._context.learner.train(transformed_data, fold, cache)
            self._losses[key] = _row_losses(self._data.y[fold.valid], prediction, self._data.task)
        return self._losses[key]

    def _transform(self, steps: Steps, fold: Fold) -> tuple[Data, Cache | None]:
        """The data with these steps. Means and shares are those of the fold's training rows; without any, all folds
        share one matrix."""
        if any(isinstance(step, FITTED) for step in steps):
            return transform_data(fit_plan(self._data, steps, fold.train), self._data), None
        if self._last_transform is None or self._last_transform[0] != steps:
            self._last_transform = steps, transform_data(fit_plan(self._data, steps), self._data), {}
        return self._last_transform[1:]


def _row_losses(y: Vector, prediction: Prediction, task: Task) -> Vector:
    """Squared errors, or minus the logarithm of the probability of the true class."""
    if task is Task.REGRESSION:
        return np.square(y - prediction)
    if prediction.ndim == 1:
        likelihood = np.where(y == 1, prediction, 1 - prediction)
    else:
        likelihood = prediction[np.arange(len(y)), y.astype(np.int64)]
    return -np.log(np.clip(likelihood, _EPS, 1.0))
