"""Alpha spending on one holdout: the risk that its k-th look may take, so that all looks keep the risk agreed.

A holdout that is looked at again and again ends up choosing the luckiest candidate. Alpha spending (Lan and DeMets
1983, Discrete sequential boundaries for clinical trials, Biometrika 70) over a countable family: the k-th look is made
at

    alpha_k = alpha * 6 / (pi^2 * k^2),    k = 1, 2, 3, ...

Since 1 + 1/4 + 1/9 + ... = pi^2 / 6 (Euler 1735), these sum to alpha over all looks that will ever be made, and by
Boole's inequality (Bonferroni) that bounds the chance that any candidate that is no better passes: it needs neither
independence nor the number of looks beforehand.

The bound also holds where what is tried next depends on earlier verdicts: as long as nothing passed, these say nothing
but "no", so the candidates that will be tried are one fixed list. It does not hold against somebody who tunes on
the scores that were reported of the holdout; those are for reading.
"""

import math
from dataclasses import replace
from statistics import NormalDist

from optagent.domain.study import Interval
from optagent.errors import InvalidRequest

LEAST_RESAMPLED = 0.02
"""The smallest alpha that 1,000 resamples tell: ten of them are then beyond each bound."""

_SMALLEST = 1e-15  # a normal law has no quantile beyond what a float can tell from 1


def alpha_of_look(alpha: float, number: int) -> float:
    """The part of `alpha` that the `number`-th look, counted from 1, may take.

    >>> round(alpha_of_look(0.05, 1), 4), round(alpha_of_look(0.05, 10), 6)
    (0.0304, 0.000304)
    """
    if not 0 < alpha < 1:
        raise InvalidRequest(f"alpha must be between 0 and 1, got {alpha!r}")
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InvalidRequest(f"the number of a look must be a whole number of at least 1, got {number!r}")
    return alpha * 6 / (math.pi**2 * number**2)


def resampled_alpha(alpha: float) -> float:
    """The alpha to resample at: `alpha`, or the smallest that resamples can tell."""
    return max(alpha, LEAST_RESAMPLED)


def widen_interval(interval: Interval, alpha: float) -> Interval:
    """The interval at a smaller `alpha` than its own, by the tails of a normal law.

    Each side, or half the width where that is more, grows by z(alpha) / z(interval.alpha).

    >>> wider = widen_interval(Interval(0.0, -1.0, 1.0, 0.05), 0.01)
    >>> round(wider.low, 3), round(wider.high, 3), wider.alpha
    (-1.314, 1.314, 0.01)
    """
    if not 0 < alpha <= interval.alpha:
        raise InvalidRequest(f"alpha must be above 0 and at most {interval.alpha!r}, got {alpha!r}")
    growth = _z(alpha) / _z(interval.alpha) - 1
    half = (interval.high - interval.low) / 2
    low = interval.low - growth * max(interval.estimate - interval.low, half)
    high = interval.high + growth * max(interval.high - interval.estimate, half)
    return replace(interval, low=low, high=high, alpha=alpha)


def _z(alpha: float) -> float:
    """The two-sided quantile of the normal law."""
    return -NormalDist().inv_cdf(max(alpha, _SMALLEST) / 2)
