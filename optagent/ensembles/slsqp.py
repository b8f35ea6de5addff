"""Weights by sequential least squares (SLSQP): the exact minimum of a smooth loss, with the analytic gradient.

Log-loss and squared errors are convex in the weights, so the minimum is global. Metrics without a gradient are replaced
by a loss: log-loss for classifiers, the squared error for regressions.
"""

from collections.abc import Callable

import numpy as np

from optagent.arrays import Vector
from optagent.ensembles.fast_scores import EPS, true_class_probability
from optagent.ensembles.members import Members
from optagent.ensembles.target import Target
from optagent.errors import InvalidData, InvalidRequest

Loss = Callable[[Vector], tuple[float, Vector]]
"""Maps weights to a loss and its gradient."""

MAX_MODELS = 300  # the cost of SLSQP grows with the cube of the models
_NEGLIGIBLE = 1e-3  # a model of less weight costs more to serve than it is worth


def slsqp(members: Members, loss: str) -> Vector:
    """(models,) weights that sum to 1; negligible weights become 0."""
    from scipy.optimize import minimize

    if loss not in LOSSES:
        raise InvalidRequest(f"unknown loss {loss!r}; one of {sorted(LOSSES)}")
    if len(members) > MAX_MODELS:
        raise InvalidRequest(f"{len(members)} models are too many for slsqp, at most {MAX_MODELS}; use greedy weights")
    models = len(members)
    optimum = minimize(
        LOSSES[loss](members),
        np.full(models, 1 / models),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * models,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(models)},
        options={"maxiter": 200, "ftol": 1e-9},
    )
    if not np.isfinite(optimum.x).all() or not optimum.x.max() > 0:
        raise InvalidData(f"slsqp found no weights for {loss}: {optimum.message}")
    weights = np.where(optimum.x >= _NEGLIGIBLE * optimum.x.max(), optimum.x, 0.0)
    return weights / weights.sum()


def loss_for(members: Members, target: Target) -> str:
    """The loss that equals a target, or else replaces it."""
    name = target.metrics[0].name
    if len(target.metrics) == 1 and name in _LOSS_OF_METRIC:
        return _LOSS_OF_METRIC[name]
    return "log_loss" if members.task.classifies else "squared_error"


def _log_loss(members: Members) -> Loss:
    def loss(weights: Vector) -> tuple[float, Vector]:
        total, gradient = 0.0, np.zeros(len(members))
        for rows, block in members.blocks():
            predictions, scale, shift = true_class_probability(block, members.y[rows])
            probabilities = np.maximum(weights @ predictions * scale + shift * weights.sum(), EPS)
            total -= float(np.log(probabilities).sum())
            gradient -= predictions @ (scale / probabilities) + float(shift @ (1 / probabilities))
        return total / members.rows, gradient / members.rows

    return loss


def _squared_error(members: Members) -> Loss:
    gram = members.moments.gram
    scale = float(np.diag(gram).mean()) or 1.0  # the stopping rule is absolute

    def loss(weights: Vector) -> tuple[float, Vector]:
        product = gram @ weights / scale
        return float(weights @ product), 2 * product

    return loss


LOSSES: dict[str, Callable[[Members], Loss]] = {
    "log_loss": _log_loss,
    "brier": _squared_error,
    "squared_error": _squared_error,
}
_LOSS_OF_METRIC = {"log_loss": "log_loss", "brier": "brier", "rmse": "squared_error", "r2": "squared_error"}
