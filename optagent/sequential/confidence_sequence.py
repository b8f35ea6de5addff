"""Confidence sequence: an interval of a mean that may be looked at as often as one likes, and acted on at any look.

The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024, Time-uniform central limit
theory and asymptotic confidence sequences, Annals of Statistics), two-sided. Rows that go together are averaged in
blocks, and what neighbouring blocks still have in common widens the interval.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from optagent.arrays import Vector
from optagent.domain.study import Interval
from optagent.errors import InvalidData, InvalidRequest

FEWEST = 20  # blocks before the first interval: a spread from fewer is too uncertain for a normal law
FEWEST_EFFECTIVE = 200.0
"""Rows: without this, 67 % of A/A runs erred where one in 50 differences was 100 times the others."""

_FEWEST_OF_BOUNDS = 100.0
"""Rows, of which three of a normal law count as one. One-sided bounds at .05 erred in .03 of A/A runs of normal values,
.02 of t with three degrees of freedom, .03 of lognormal ones, and none where one in 50 was 100 times the others; where
one in 50 was a loss as large as all gains together, in .01. With 200, a normal stream had no bound in its first 600."""


@dataclass(frozen=True, slots=True)
class ConfidenceSequence:
    """The state after `count` blocks. It holds plain values only, so it can be stored anywhere and go on from there.

    The interval is tuned to be narrowest at `horizon` rows. The sums are of deviations of block means from `origin`,
    the first of them; `products` are those of neighbours. `power` and `fourth` sum the second and fourth powers of
    rows. The rows of an unfinished block wait in `waiting`.
    """

    alpha: float
    horizon: int
    block: int = 1
    count: int = 0
    origin: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    products: float = 0.0
    last: float = 0.0
    power: float = 0.0
    fourth: float = 0.0
    waiting: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InvalidRequest(f"alpha must be between 0 and 1, got {self.alpha}")
        if not 1 <= self.block <= self.horizon:
            raise InvalidRequest(f"block must be between 1 and the horizon {self.horizon}, got {self.block}")

    @property
    def rows(self) -> int:
        """The rows of whole blocks."""
        return self.count * self.block

    def after(self, values: Vector) -> "ConfidenceSequence":
        """The state after more rows, in the order of time; InvalidData for one that is no number."""
        pending = np.concatenate([self.waiting, check_finite(values)])
        whole = len(pending) // self.block * self.block
        waiting = tuple(pending[whole:].tolist())
        if not whole:
            return replace(self, waiting=waiting)
        squared = pending[:whole] ** 2
        means = pending[:whole].reshape(-1, self.block).mean(axis=1)
        origin = self.origin if self.count else float(means[0])
        deviations = means - origin
        before = np.concatenate([[self.last], deviations[:-1]])
        return replace(
            self,
            count=self.count + len(means),
            origin=origin,
            total=self.total + float(deviations.sum()),
            squares=self.squares + float(deviations @ deviations),
            products=self.products + float(deviations @ before),
            last=float(deviations[-1]),
            power=self.power + float(squared.sum()),
            fourth=self.fourth + float(squared @ squared),
            waiting=waiting,
        )

    def interval(self) -> Interval | None:
        """The interval now; None before there are enough blocks, and enough rows that count."""
        if self.count < FEWEST or effective_rows(self.power, self.fourth) < FEWEST_EFFECTIVE:
            return None
        spread = _block_spread(self.count, self.total, self.squares, self.products, self.last)
        mean = self.origin + self.total / self.count
        width = float(radius(self.count, spread, self.alpha, self.horizon / self.block))
        return Interval(mean, mean - width, mean + width, self.alpha)

    def bounds(self, low_alpha: float, high_alpha: float, tuned_rows: int) -> Interval | None:
        """The one-sided bounds now, each with an error rate of its own at all looks together.

        They are narrowest at `tuned_rows`, however long is looked. None before there are enough blocks and rows.
        """
        if self.count < FEWEST or effective_rows(self.power, self.fourth) < _FEWEST_OF_BOUNDS:
            return None
        spread = _block_spread(self.count, self.total, self.squares, self.products, self.last)
        mean, tuned = self.origin + self.total / self.count, tuned_rows / self.block
        low = mean - one_sided_radius(self.count, spread, low_alpha, tuned)
        return Interval(mean, low, mean + one_sided_radius(self.count, spread, high_alpha, tuned), low_alpha)


def effective_rows(power: Vector | float, fourth: Vector | float) -> Vector:
    """The number of rows that make up a sum of squares: all if they are alike, one if it is far larger than the rest.

    Where few do, the worst has likely not been seen yet, and no normal law holds.
    """
    return np.asarray(power, dtype=np.float64) ** 2 / np.maximum(fourth, np.finfo(np.float64).tiny)


def radius(count: Vector | int, spread: Vector | float, alpha: float, horizon: float, inflation: float = 1.0) -> Vector:
    """Half the width of the interval after `count` values of that standard deviation.

    `inflation` is how many times larger the variance of their sum is than that of independent ones, where more of it
    comes with each value that resembles earlier ones. A Gaussian sum whose steps go together crosses a bound less
    often than one of independent steps and equal variance (Slepian's inequality), so the bound holds for it as well.
    """
    rate = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / horizon  # rho squared
    time = np.asarray(count, dtype=np.float64) * inflation
    reach = 2 * (time * rate + 1) / rate * np.log(np.sqrt(time * rate + 1) / alpha)
    return np.asarray(spread * np.sqrt(reach) / count, dtype=np.float64)


def one_sided_radius(count: int, spread: float, alpha: float, tuned: float) -> float:
    """The distance of a one-sided bound from the mean of `count` values, narrowest at `tuned` of them.

    Waudby-Smith et al. (2024), proposition B.1: the mixture over positive means only.
    """
    if not 0 < alpha < 0.5:
        raise InvalidRequest(f"alpha of a one-sided bound must be between 0 and 0.5, got {alpha}")
    rate = (-2 * math.log(2 * alpha) + math.log(1 - 2 * math.log(2 * alpha))) / tuned
    reach = 2 * (count * rate + 1) / rate * math.log1p(math.sqrt(count * rate + 1) / (2 * alpha))
    return spread * math.sqrt(reach) / count


def check_finite(values: Vector) -> Vector:
    """The values, if all are numbers; InvalidData names the first that is not."""
    numbers = np.asarray(values, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        raise InvalidData(f"a value must be a finite number, row {wrong[0]} has {numbers[wrong[0]]}")
    return numbers


def _block_spread(count: int, total: float, squares: float, products: float, last: float) -> float:
    """The standard deviation of blocks, with twice the covariance of neighbours where that is above 0."""
    mean = total / count
    own = (squares - total * mean) / max(1, count - 1)
    shared = (products - mean * (2 * total - last) + (count - 1) * mean**2) / count
    return math.sqrt(max(0.0, own) + 2 * max(0.0, shared))
