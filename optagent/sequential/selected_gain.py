"""Selected gain: the estimate of an improvement that is reported because it passed a limit.

A gain that is looked at because it passed is too large in the mean. The estimate given that it passed follows a normal
law cut off at the limit, and the gain for which the estimate is its median is the conditional median-unbiased one
(Zhong and Prentice 2008, Bias-reduced estimators and confidence intervals for odds ratios in genome-wide association
studies, Biostatistics 9; Andrews, Kitagawa and McCloskey 2024, Inference on winners, QJE 139).
"""

from statistics import NormalDist

from optagent.domain.study import Interval

_LAW = NormalDist()
_STEPS = 60  # of bisection: to the last digits


def corrected_gain(interval: Interval, required: float) -> float:
    """The gain behind an estimate whose interval had to be above `required`, and was.

    Half of the estimates that pass lie above it, whatever the true gain is, unless that is below `required`: there the
    answer is `required`.
    """
    half = interval.estimate - interval.low
    if half <= 0:
        return interval.estimate
    spread = half / -_LAW.inv_cdf(interval.alpha / 2)
    limit = required + half
    low, high = required, interval.estimate
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _tail((interval.estimate - middle) / spread) < _tail((limit - middle) / spread) / 2:
            low = middle
        else:
            high = middle
    return high if low > required else required


def _tail(z: float) -> float:
    return _LAW.cdf(-z)
