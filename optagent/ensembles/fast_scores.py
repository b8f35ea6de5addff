"""How good each of many weightings is, turned so that larger is better: fast for the metrics that allow it.

Log-loss is summed over blocks of rows that stay in the cache, squared errors come from second moments, and areas from a
sort of integers; every other metric is asked of one weighting after the other. None of them needs memory that grows
with the number of models times rows.
"""

from collections.abc import Callable

import numpy as np

from optagent.arrays import Vector
from optagent.ensembles.fast_auc import area
from optagent.ensembles.members import Members
from optagent.ensembles.mixing import Weightings
from optagent.ensembles.moments import Block
from optagent.errors import InvalidData
from optagent.training.metrics import Metric

EPS = float(np.finfo(np.float64).eps)
"""The least probability that log-loss takes, as the metric does."""

_HALVINGS = 4  # 16 probabilities to a logarithm: EPS**16 is 1e-251, still a number


def worths_of(members: Members, metric: Metric, mix: Weightings) -> Vector:
    """(weightings,); raises InvalidData where the metric is undefined on these rows."""
    sign = 1.0 if metric.maximize else -1.0
    return sign * _FAST.get(metric.name, _one_by_one)(members, metric, mix)


def chosen_of(block: Block, y: Vector) -> tuple[Block, Vector, Vector]:
    """The probability of what came true, as (models, rows), a scale and a shift: of one class of two, p or 1 - p."""
    if block.ndim == 2:
        return block, 2 * y - 1, 1 - y
    true = np.take_along_axis(block, y.astype(np.int64)[None, :, None], axis=2)[:, :, 0]
    return true, np.ones(len(y)), np.zeros(len(y))


def _log_loss(members: Members, _: Metric, mix: Weightings) -> Vector:
    total = np.zeros(len(mix))
    for rows, block in members.blocks(wide=len(mix)):
        total += _sums_of_logs(mix.of(*chosen_of(block, members.y[rows])))
    return -total / members.rows


def _sums_of_logs(chosen: Block) -> Vector:
    """(weightings,) of the logarithms' sums: of products, since a logarithm costs as much as ten multiplications."""
    np.maximum(chosen, EPS, out=chosen)
    left = chosen.shape[1]
    for _ in range(_HALVINGS):
        half = left // 2
        chosen[:, :half] *= chosen[:, left - half : left]
        left -= half
    return np.log(chosen[:, :left]).sum(axis=1)


def _squared(members: Members, _: Metric, mix: Weightings) -> Vector:
    return np.maximum(mix.squares(members.moments.gram), 0.0)


def _root(members: Members, metric: Metric, mix: Weightings) -> Vector:
    return np.sqrt(_squared(members, metric, mix))


def _explained(members: Members, metric: Metric, mix: Weightings) -> Vector:
    spread = float(np.var(members.y))
    if spread == 0:
        raise InvalidData("r2: all rows have the same value")
    return 1 - _squared(members, metric, mix) / spread


def _areas(members: Members, _: Metric, mix: Weightings) -> Vector:
    return np.array([area(members.y, prediction) for prediction in mix.each(members)])


def _one_by_one(members: Members, metric: Metric, mix: Weightings) -> Vector:
    return np.array([metric.score(members.y, prediction) for prediction in mix.each(members)])


_FAST: dict[str, Callable[[Members, Metric, Weightings], Vector]] = {
    "log_loss": _log_loss,
    "brier": _squared,
    "rmse": _root,
    "r2": _explained,
    "auc": _areas,
}
