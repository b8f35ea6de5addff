"""Alpha spending over the looks at a model's holdouts: the share of the agreed risk that the next look may take.

Holdouts that are looked at again and again end up choosing the luckiest candidate. Alpha spending (Lan and DeMets 1983,
Discrete sequential boundaries for clinical trials, Biometrika 70) lets every look take a part of one risk. By Boole's
inequality, the chance that any candidate that is no better passes is then at most that risk. It needs neither
independence of the candidates and of their rows nor the number of looks beforehand. A look takes

    share = (1 - spent) / (10 + looks)

where `looks` counts the earlier looks and `spent` sums their shares. From the start that is 9 / ((k + 8) (k + 9)) for
the k-th look: k looks have spent k / (k + 9), all that will ever be made spend the whole risk, and the tenth has a
quarter of the first one's share. Earlier looks count

- whole for a year, so that the shares of any 365 days sum to 1 at most;
- then by the share of today's rows that they saw, so that the shares of looks at the same rows sum to 1 at most for
  ever, and a year that brought new rows gives back what was spent on the old ones;
- not at all before the last look that proved its candidate: with it the line begins anew. A promise of one risk for
  each proof bounds the expected false proofs by the risk times one more than the number of proofs (alpha investing:
  Foster and Stine 2008, JRSS B 70; LOND: Javanmard and Montanari 2018, Annals of Statistics 46).

The bound also holds where what is tried next depends on earlier verdicts: as long as nothing passed, these say nothing
but "no", so the candidates that will be tried are one fixed list. It does not hold against somebody who tunes on
the scores that were reported of the holdout; those are for reading.

LOND with e-values (Xu and Ramdas 2024, Online multiple testing with e-values, AISTATS) assumes as little, but proves
less: a normal mean that has to exceed 2.6 standard errors at a one-sided .005 has to exceed 3.3 by its best e-value.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

from scipy.special import stdtrit

from optagent.domain.ledger import HoldoutLook
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest
from optagent.sequential.row_sample import share_in

YEAR_S = 365 * 86_400.0
FIRST_SHARE = 0.1

LEAST_RESAMPLED = 0.02
"""The smallest alpha that 1,000 resamples tell: ten of them are then beyond each bound."""

_LEAST_SHARE = 1e-9  # of a look for which nothing is left: a billion of them add one risk

_SMALLEST = 1e-15  # a normal law has no quantile beyond what a float can tell from 1


def share_of_look(earlier: Sequence[HoldoutLook], look: HoldoutLook) -> float:
    """The share of its risk that `look` may take after the `earlier` ones of its model, the oldest first."""
    since_proof: list[HoldoutLook] = []
    for each in earlier:
        since_proof = [] if each.has_proved else [*since_proof, each] if each.share > 0 else since_proof
    weights = [1.0 if look.at - each.at < YEAR_S else share_in(look.sample, each.sample) for each in since_proof]
    spent = sum(weight * each.share for weight, each in zip(weights, since_proof, strict=True))
    return max(_LEAST_SHARE, (1 - spent) / (1 / FIRST_SHARE + sum(weights)))


def alpha_of_look(alpha: float, number: int) -> float:
    """The part of `alpha` that the `number`-th look at one holdout took, as decisions by `Criterion.TWO_SIDED` did.

    It is alpha * 6 / (pi^2 * number^2), counted from 1, which sums to `alpha` (Euler 1735).

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


def widen_interval(interval: Interval, alpha: float, freedom: float = math.inf) -> Interval:
    """The interval at a smaller `alpha` than its own, by the tails of a normal law.

    Each side, or half the width where that is more, grows by z(alpha) / z(interval.alpha). With degrees of `freedom`,
    the first quantile is that of Student's law, since resamples take the spread for known that was estimated.

    >>> wider = widen_interval(Interval(0.0, -1.0, 1.0, 0.05), 0.01)
    >>> round(wider.low, 3), round(wider.high, 3), wider.alpha
    (-1.314, 1.314, 0.01)
    """
    if not 0 < alpha <= interval.alpha:
        raise InvalidRequest(f"alpha must be above 0 and at most {interval.alpha!r}, got {alpha!r}")
    quantile = _z(alpha) if math.isinf(freedom) else -float(stdtrit(freedom, max(alpha, _SMALLEST) / 2))
    growth = quantile / _z(interval.alpha) - 1
    half = (interval.high - interval.low) / 2
    low = interval.low - growth * max(interval.estimate - interval.low, half)
    high = interval.high + growth * max(interval.high - interval.estimate, half)
    return replace(interval, low=low, high=high, alpha=alpha)


def _z(alpha: float) -> float:
    """The two-sided quantile of the normal law."""
    return -NormalDist().inv_cdf(max(alpha, _SMALLEST) / 2)
