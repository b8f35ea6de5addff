"""Fast scores of many weightings, signed so that larger is better.

Log-loss is summed over blocks of rows that stay in the cache, squared errors come from second moments, and areas from a
sort of integers; every other metric scores one weighting after the other. None of them needs memory that grows with the
number of models times rows.
"""

from collections.abc import Callable

import numpy as np

from optagent.arrays import Vector
from optagent.ensembles.fast_auc import roc_auc
from optagent.ensembles.members import Members
from optagent.ensembles.mixing import Weightings
from optagent.ensembles.moments import Block
from optagent.errors import InvalidData
from optagent.training.metrics import Metric

EPS = float(np.finfo(np.float64).eps)
"""The least probability that log-loss counts with, as in the metric."""

_LOG_HALVINGS = 4  # 16 probabilities to a logarithm: EPS**16 is 1e-251, still a number


def worths_by_metric(members: Members, metric: Metric, weightings: Weightings) -> Vector:
    """(weightings,) worths by one metric; raises InvalidData where the metric is undefined on these rows."""
    sign = 1.0 if metric.maximize else -1.0
    return sign * _FAST.get(metric.name, _score_each)(members, metric, weightings)


def true_class_probability(block: Block, y: Vector) -> tuple[Block, Vector, Vector]:
    """The probability of the true class as (models, rows), a scale and a shift (rows,), which turn class 1 of two into
    p or 1 - p."""
    if block.ndim == 2:
        return block, 2 * y - 1, 1 - y
    true = np.take_along_axis(block, y.astype(np.int64)[None, :, None], axis=2)[:, :, 0]
    return true, np.ones(len(y)), np.zeros(len(y))


def _log_loss(members: Members, _: Metric, weightings: Weightings) -> Vector:
    total = np.zeros(len(weightings))
    for rows, block in members.blocks(wide=len(weightings)):
        total += _sums_of_logs(weightings.mix_block(*true_class_probability(block, members.y[rows])))
    return -total / members.rows


def _sums_of_logs(probabilities: Block) -> Vector:
    """(weightings,) sums of logarithms, taken of products: one logarithm costs as much as ten multiplications."""
    np.maximum(probabilities, EPS, out=probabilities)
    width = probabilities.shape[1]
    for _ in range(_LOG_HALVINGS):
        half = width // 2
        probabilities[:, :half] *= probabilities[:, width - half : width]
        width -= half
    return np.log(probabilities[:, :width]).sum(axis=1)


def _mean_squared_error(members: Members, _: Metric, weightings: Weightings) -> Vector:
    return np.maximum(weightings.squares(members.moments.gram), 0.0)


def _rmse(members: Members, metric: Metric, weightings: Weightings) -> Vector:
    return np.sqrt(_mean_squared_error(members, metric, weightings))


def _r2(members: Members, metric: Metric, weightings: Weightings) -> Vector:
    spread = float(np.var(members.y))
    if spread == 0:
        raise InvalidData("r2: all rows have the same value")
    return 1 - _mean_squared_error(members, metric, weightings) / spread


def _roc_aucs(members: Members, _: Metric, weightings: Weightings) -> Vector:
    return np.array([roc_auc(members.y, prediction) for prediction in weightings.each_prediction(members)])


def _score_each(members: Members, metric: Metric, weightings: Weightings) -> Vector:
    return np.array([metric.score(members.y, prediction) for prediction in weightings.each_prediction(members)])


_FAST: dict[str, Callable[[Members, Metric, Weightings], Vector]] = {
    "log_loss": _log_loss,
    "brier": _mean_squared_error,
    "rmse": _rmse,
    "r2": _r2,
    "auc": _roc_aucs,
}
