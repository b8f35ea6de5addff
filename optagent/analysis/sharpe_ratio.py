"""Sharpe ratio: the estimate, the probability that the true one is above a bar, and its deflation by the trials.

Bailey and López de Prado 2012, The Sharpe ratio efficient frontier, Journal of Risk 15 (probabilistic Sharpe ratio,
with the standard error of Mertens 2002 for returns that are not normal); 2014, The deflated Sharpe ratio, Journal of
Portfolio Management 40. Returns of different periods are taken as independent.
"""

import math
from statistics import NormalDist

import numpy as np

from optagent.arrays import Matrix64, Vector
from optagent.errors import InvalidRequest

LEAST_PERIODS = 8
"""With fewer periods, third and fourth moments are noise."""

_NORMAL = NormalDist()
_EULER = 0.5772156649015329


def sharpe_ratios(returns: Matrix64) -> Vector:
    """(strategies,) mean over standard deviation of (periods, strategies) returns, a period; 0 for constant returns.

    >>> sharpe_ratios(np.array([[0.01, 0.0], [0.03, 0.0]])).round(3).tolist()
    [1.414, 0.0]
    """
    spread = returns.std(axis=0, ddof=1)
    mean = returns.mean(axis=0)
    constant = spread <= 1e-12 * np.abs(returns).max(axis=0)
    return np.divide(mean, spread, out=np.zeros_like(mean), where=~constant)


def probability_above(returns: Vector, bar: float) -> float:
    """The probability that the true Sharpe ratio of (periods,) returns is above `bar`, by its asymptotic normal law.

    Raises InvalidRequest for fewer than `LEAST_PERIODS` returns, and for constant ones.
    """
    if len(returns) < LEAST_PERIODS:
        raise InvalidRequest(f"a Sharpe ratio needs at least {LEAST_PERIODS} periods, got {len(returns)}")
    centred = returns - returns.mean()
    variance = float((centred**2).mean())
    if variance <= 1e-24 * float(np.abs(returns).max()) ** 2:
        raise InvalidRequest("the returns are constant, which have no Sharpe ratio")
    skew = float((centred**3).mean()) / variance**1.5
    kurtosis = float((centred**4).mean()) / variance**2
    ratio = float(sharpe_ratios(returns[:, None])[0])
    return probability_of_moments(ratio, bar, len(returns), skew, kurtosis)


def probability_of_moments(ratio: float, bar: float, periods: int, skew: float, kurtosis: float) -> float:
    """The probability that the true Sharpe ratio is above `bar`, from the moments of the returns of a period.

    The example of Bailey and López de Prado 2014: 2.5 a year on 1,250 days, 100 trials.

    >>> bar = lucky_ratio(100, 0.5 / 250)
    >>> round(bar, 4), round(probability_of_moments(2.5 / 250**0.5, bar, 1250, -3, 10), 4)
    (0.1132, 0.9004)
    """
    error = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2  # not below 0, since kurtosis is at least 1 + skew²
    return _NORMAL.cdf((ratio - bar) * math.sqrt((periods - 1) / max(error, 1e-12)))


def lucky_ratio(trials: int, variance: float) -> float:
    """The largest Sharpe ratio that is expected of so many trials without skill, whose ratios have this variance.

    >>> round(lucky_ratio(1000, 0.01), 3), lucky_ratio(1, 0.01)
    (0.326, 0.0)
    """
    if trials < 1 or not variance >= 0:
        raise InvalidRequest(f"at least 1 trial and a variance of at least 0 are needed, got {trials} and {variance}")
    if trials == 1:
        return 0.0
    first, second = _NORMAL.inv_cdf(1 - 1 / trials), _NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return math.sqrt(variance) * ((1 - _EULER) * first + _EULER * second)


def variance_without_skill(periods: int) -> float:
    """The variance of the Sharpe ratio of so many independent normal returns of mean 0, by Student's t.

    >>> round(variance_without_skill(16), 4)
    0.0721
    """
    if periods < 4:
        raise InvalidRequest(f"the variance of a Sharpe ratio needs at least 4 periods, got {periods}")
    return (periods - 1) / (periods - 3) / periods


def deflated_probability(returns: Vector, trials: int, variance: float) -> float:
    """Deflated Sharpe ratio: the probability that the best of `trials` strategies has a true ratio above 0, given how
    lucky the best of so many is expected to be.

    `variance` is that of the trials' Sharpe ratios, a period. Below 1 - alpha there is no evidence of skill.
    """
    return probability_above(returns, lucky_ratio(trials, variance))
