"""The weights that minimise a smooth loss exactly, by sequential least squares with the analytic gradient.

Log-loss and squared errors are convex in the weights, so that what it finds is the best there is. A loss stands for the
metrics without a gradient: log-loss for those of classifiers, the squared error for those of regressions.
"""

from collections.abc import Callable

import numpy as np

from optagent.arrays import Vector
from optagent.ensembles.fast_scores import EPS, chosen_of
from optagent.ensembles.members import Members
from optagent.ensembles.target import Target
from optagent.errors import InvalidData, InvalidRequest

Loss = Callable[[Vector], tuple[float, Vector]]
"""From weights to a loss and its gradient."""

MAX_MODELS = 300  # its own algebra grows with the cube of the models
_NEGLIGIBLE = 1e-3  # a model of less weight costs more to serve than it is worth


def slsqp(members: Members, loss: str) -> Vector:
    """(models,) weights that sum to 1; weights of next to nothing are none."""
    from scipy.optimize import minimize

    if loss not in LOSSES:
        raise InvalidRequest(f"unknown loss {loss!r}; one of {sorted(LOSSES)}")
    if len(members) > MAX_MODELS:
        raise InvalidRequest(f"{len(members)} models are too many for slsqp, at most {MAX_MODELS}; use greedy weights")
    models = len(members)
    found = minimize(
        LOSSES[loss](members),
        np.full(models, 1 / models),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * models,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(models)},
        options={"maxiter": 200, "ftol": 1e-9},
    )
    if not np.isfinite(found.x).all() or not found.x.max() > 0:
        raise InvalidData(f"slsqp found no weights for {loss}: {found.message}")
    kept = np.where(found.x >= _NEGLIGIBLE * found.x.max(), found.x, 0.0)
    return kept / kept.sum()


def loss_for(members: Members, target: Target) -> str:
    """The loss that a target is, or that stands for it."""
    name = target.metrics[0].name
    if len(target.metrics) == 1 and name in _IS:
        return _IS[name]
    return "log_loss" if members.task.classifies else "squared_error"


def _log_loss(members: Members) -> Loss:
    def loss(weights: Vector) -> tuple[float, Vector]:
        total, gradient = 0.0, np.zeros(len(members))
        for rows, block in members.blocks():
            said, scale, shift = chosen_of(block, members.y[rows])
            chosen = np.maximum(weights @ said * scale + shift * weights.sum(), EPS)
            total -= float(np.log(chosen).sum())
            gradient -= said @ (scale / chosen) + float(shift @ (1 / chosen))
        return total / members.rows, gradient / members.rows

    return loss


def _squared(members: Members) -> Loss:
    gram = members.moments.gram
    scale = float(np.diag(gram).mean()) or 1.0  # the stopping rule is absolute

    def loss(weights: Vector) -> tuple[float, Vector]:
        toward = gram @ weights / scale
        return float(weights @ toward), 2 * toward

    return loss


LOSSES: dict[str, Callable[[Members], Loss]] = {"log_loss": _log_loss, "brier": _squared, "squared_error": _squared}
_IS = {"log_loss": "log_loss", "brier": "brier", "rmse": "squared_error", "r2": "squared_error"}
