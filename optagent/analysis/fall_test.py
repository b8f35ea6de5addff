"""Fall test: intervals of a window and of its reference, wide enough that a fall is seldom found where there is none.

The interval of a window by itself knows nothing of what its rows have in common: the mood of a day, a weekend, a memory
longer than the window. How much means of so many rows vary is known from the reference, by batch means. An interval is
widened to that, and to the quantile that the rate of false alarms asks for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import ndtri, stdtrit

from optagent.analysis.block_length import cube_root_length
from optagent.analysis.bootstrap import bootstrap_interval
from optagent.analysis.performance import IN_TIME, Mean
from optagent.arrays import Vector
from optagent.domain.performance import MetricValue
from optagent.domain.study import Interval
from optagent.sequential.batch_means import DesignEffects

_ALPHA = 0.05  # of the intervals that are widened
_LARGEST_LEVEL = 0.025
_FEWEST_BLOCKS = 4.0  # a quantile of fewer says nothing any more


@dataclass(frozen=True, slots=True)
class RowSpread:
    """The spread of values of single rows of a reference, and how much more means of them vary than independent rows'
    would."""

    spread: float
    effects: DesignEffects

    def mean_error(self, rows: int) -> float:
        """The standard error of the mean of so many neighbouring rows."""
        return self.spread * math.sqrt(self.effects.at(rows) / rows)


def alarm_level(window_s: float, false_alarm_every_s: float, tests: int) -> float:
    """The risk of one of several one-sided tests of a window, so that all of them keep the time between false alarms.

    >>> round(alarm_level(86_400, 90 * 86_400, 2), 5)
    0.00556
    """
    return min(_LARGEST_LEVEL, window_s / false_alarm_every_s / max(1, tests))


@dataclass(frozen=True, slots=True)
class Widening:
    """The factor, at least 1, by which an interval is too narrow, and the rows that tell as much as one independent."""

    factor: float = 1.0
    effect: float = 1.0


NOT_WIDER = Widening()


def widening(values: Vector, spread: RowSpread, rows: int | None = None) -> Widening:
    """The widening of the interval of the mean of `values`, by the reference's spread.

    `rows` is the number of neighbouring rows of which `values` were kept, if not all.
    """
    if len(values) < 2:
        return Widening()
    mean = Mean("mean")
    interval = bootstrap_interval(mean.score, values, values, _ALPHA, IN_TIME, mean.resampled)
    error = (interval.high - interval.low) / (2 * float(ndtri(1 - _ALPHA / 2)))
    effect = spread.effects.at(len(values)) if rows is None else 1.0
    return Widening(max(1.0, spread.mean_error(rows or len(values)) / error) if error > 0 else 1.0, effect)


def at_level(interval: Interval, rows: int, level: float, wide: Widening = NOT_WIDER) -> Interval:
    """The interval whose lower bound has the one-sided risk `level`, by quantiles of Student's t for its few blocks."""
    blocks = max(_FEWEST_BLOCKS, min(rows / cube_root_length(rows), rows / wide.effect))
    wider = wide.factor * float(stdtrit(blocks - 1, 1 - level)) / float(ndtri(1 - interval.alpha / 2))
    low = interval.estimate - wider * (interval.estimate - interval.low)
    return Interval(interval.estimate, low, interval.estimate + wider * (interval.high - interval.estimate), 2 * level)


def values_at_level(values: Sequence[MetricValue], level: float, wide: Widening = NOT_WIDER) -> tuple[MetricValue, ...]:
    """The metrics with intervals of this one-sided risk."""
    return tuple(
        value if value.interval is None else replace(value, interval=at_level(value.interval, value.rows, level, wide))
        for value in values
    )
