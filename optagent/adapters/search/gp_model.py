"""Gaussian process model: a regression over the unit cube, and the point of the largest expected improvement."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

from optagent.adapters.search.acquisition import log_expected_improvement
from optagent.adapters.search.unit_cube import Points, UnitCube

Values = NDArray[np.float64]
_JITTER = 1e-8
_KERNEL_ITERATIONS = 20
_STARTS = 1024
_LOCAL_STARTS = 256
_CLIMBERS, _STEPS = 8, 48
_SAME = 1e-9


def initial_kernel(dimensions: int) -> Kernel:
    """Matern 5/2 with a length scale an axis (ARD), and noise."""
    scales = Matern(np.full(dimensions, 0.5), (0.05, 20.0), nu=2.5)
    return ConstantKernel(1.0, (0.05, 20.0)) * scales + WhiteKernel(1e-3, (1e-6, 0.3))


class GPModel:
    """A posterior over standardised values; `fit` finds the kernel, `fantasize` adds the points of pending trials."""

    def __init__(self, points: Points, values: Values, regressor: GaussianProcessRegressor) -> None:
        self.points = points
        self.values = values
        self._regressor = regressor

    @classmethod
    def fit(cls, points: Points, values: Values, kernel: Kernel, search_kernel: bool = True) -> "GPModel":
        """The kernel's parameters by maximum likelihood from `kernel` on, or `kernel` as it is."""
        return cls(points, values, _fit_regressor(points, values, kernel, search_kernel))

    @property
    def kernel(self) -> Kernel:
        return self._regressor.kernel_

    def fantasize(self, pending: Points) -> "GPModel":
        """The model as if each pending point had come out as predicted (kriging believer, Ginsbourger et al. 2010)."""
        if not len(pending):
            return self
        points = np.concatenate([self.points, pending])
        values = np.concatenate([self.values, self._regressor.predict(pending)])
        return GPModel.fit(points, values, self.kernel, search_kernel=False)

    def log_improvement(self, points: Points) -> Values:
        """The logarithm of the expected improvement on the best value so far."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a variance just under zero is rounding
            mean, deviation = self._regressor.predict(points, return_std=True)
        return log_expected_improvement(mean, deviation, float(self.values.max()))


def propose_point(model: GPModel, cube: UnitCube, rng: np.random.Generator) -> Points:
    """The untried point of the largest expected improvement.

    Random points, points around the best, then steps from the most promising that shrink: no gradients, so that
    integers and categoricals are searched like the rest.
    """
    best = model.points[np.argsort(-model.values)[:5]]
    around = best[rng.integers(len(best), size=_LOCAL_STARTS)]
    around = around + rng.normal(size=around.shape) * rng.choice([0.02, 0.05, 0.15], size=(_LOCAL_STARTS, 1))
    spread = rng.random((_STARTS, cube.dimensions))
    points = cube.snap(np.concatenate([spread, np.clip(around, 0.0, 1.0)]))
    gains = model.log_improvement(points)
    for size in (0.1, 0.03, 0.01):
        tops = points[np.argsort(-gains)[:_CLIMBERS]]
        stepped = cube.snap(_draw_steps(tops, size, rng))
        points = np.concatenate([points, stepped])
        gains = np.concatenate([gains, model.log_improvement(stepped)])
    for index in np.argsort(-gains):
        if np.abs(model.points - points[index]).max(axis=1).min() > _SAME:
            break
    proposal: Points = points[index]
    return proposal


def _draw_steps(points: Points, size: float, rng: np.random.Generator) -> Points:
    repeated = np.repeat(points, _STEPS, axis=0)
    is_moved = rng.random(repeated.shape) < max(0.4, 1.5 / repeated.shape[1])
    stepped: Points = np.clip(repeated + is_moved * rng.normal(size=repeated.shape) * size, 0.0, 1.0)
    return stepped


def _fit_regressor(points: Points, values: Values, kernel: Kernel, search_kernel: bool) -> GaussianProcessRegressor:
    optimizer = _maximize_likelihood if search_kernel else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound is an answer
        return GaussianProcessRegressor(kernel, alpha=_JITTER, optimizer=optimizer).fit(points, values)


def _maximize_likelihood(
    loss: Callable[[Values], tuple[float, Values]], start: Values, bounds: Points
) -> tuple[Values, float]:
    """L-BFGS of few iterations, since the fit for the next suggestion starts from this result."""
    optimum = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _KERNEL_ITERATIONS})
    return optimum.x, optimum.fun
