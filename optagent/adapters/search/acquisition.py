"""Acquisition function: the logarithm of the expected improvement (LogEI).

Ament et al. 2023, "Unexpected improvements to expected improvement for Bayesian optimization", section 4.1.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

Values = NDArray[np.float64]
_LEAST_DEVIATION = 1e-9
_ASYMPTOTIC_BELOW = -25.0


def log_expected_improvement(mean: Values, deviation: Values, best: float) -> Values:
    """log E[max(f - best, 0)] = log h(z) + log(sigma), with z = (mean - best) / sigma (equation 8 of the source).

    >>> log_expected_improvement(np.array([-60.0]), np.array([1.0]), 0.0).round(1)
    array([-1809.1])
    """
    deviation = np.maximum(deviation, _LEAST_DEVIATION)
    return np.asarray(_log_h((mean - best) / deviation) + np.log(deviation))


def _log_h(z: Values) -> Values:
    """log(phi(z) + z * Phi(z)) in three branches, since the direct form underflows (equation 9 of the source).

    The middle branch, log phi(z) + log1p(z * Phi(z) / phi(z)), takes Phi from `log_ndtr` where the source has erfcx. It
    loses digits far below zero, so the asymptote log phi(z) - 2 log|z| begins at -25 already.
    """
    log_pdf = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    ratio = np.exp(np.where(z < 0, log_ndtr(z) - log_pdf, 0.0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        direct = np.log(np.exp(log_pdf) + z * np.exp(log_ndtr(z)))
        middle = log_pdf + np.log1p(z * ratio)
    asymptote = log_pdf - 2 * np.log(np.maximum(-z, 1.0))
    return np.where(z > 0, direct, np.where(z > _ASYMPTOTIC_BELOW, middle, asymptote))
