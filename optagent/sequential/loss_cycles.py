"""Cycles of losses: days and weeks that a series of losses follows, by variance analysis of its hours and weekdays."""

import numpy as np
from scipy.special import fdtrc, stdtr

from optagent.arrays import Codes, Vector

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S

PARTS_OF_CYCLE = 8
"""The most means by which a cycle is described: eight stretches of a day, or seven weekdays."""

_HOURS_S = DAY_S / PARTS_OF_CYCLE
_RISK = 0.01  # of a cycle that is none: it only makes blocks longer than they need to be
_FEWEST_DAYS = 3  # for the hours of a day
_FEWEST_WEEKS = 2


def cycles_of(losses: Vector, time: Vector) -> tuple[float, ...]:
    """The lengths in seconds of the cycles that the losses follow: a day, a week, both or none.

    `time` (rows,) are POSIX seconds in order. A cycle needs several turns to be told from chance.
    """
    span = covered_s(time)
    cycles = []
    if span >= _FEWEST_DAYS * DAY_S and _differs(*_phase_means(losses, time, _HOURS_S, PARTS_OF_CYCLE)):
        cycles.append(DAY_S)
    if span >= _FEWEST_WEEKS * WEEK_S:
        means, weekday = _phase_means(losses, time, DAY_S, 7)
        if _differs(means, weekday) or _two_days_differ(means, weekday):
            cycles.append(WEEK_S)
    return tuple(cycles)


def covered_s(time: Vector) -> float:
    """The seconds that rows of these times cover; a row stands for the time up to the next."""
    rows = len(time)
    return float(time[-1] - time[0]) * rows / (rows - 1) if rows > 1 else 0.0


def knows_weeks(time: Vector) -> bool:
    """True where the times cover two weeks, the least that tells a weekday from chance."""
    return covered_s(time) >= _FEWEST_WEEKS * WEEK_S * (1 - 1e-9)


def whole_cycles(time: Vector, cycle_s: float) -> Vector:
    """(rows,) mask of the newest rows that make whole cycles."""
    turns = max(1, int(covered_s(time) / cycle_s + 1e-6))
    return np.asarray(time > time[-1] - turns * cycle_s)


def without_cycles(losses: Vector, time: Vector, cycles: tuple[float, ...]) -> Vector:
    """The losses less what the hour and the weekday explain; their mean stays."""
    rest = losses
    for cycle in cycles:
        part_s = _HOURS_S if cycle == DAY_S else DAY_S
        phase = _phases(time, part_s, round(cycle / part_s))
        rows = np.bincount(phase)
        rest = rest - (np.bincount(phase, rest) / np.maximum(rows, 1))[phase] + rest.mean()
    return rest


def _phases(time: Vector, part_s: float, parts: int) -> Codes:
    return np.asarray(np.floor(time / part_s) % parts, dtype=np.int64)


def _phase_means(losses: Vector, time: Vector, part_s: float, parts: int) -> tuple[Vector, Codes]:
    """The mean loss of each stretch of `part_s` seconds, and the part of the cycle that it is."""
    stretch = np.floor(time / part_s).astype(np.int64)
    numbers, code, rows = np.unique(stretch, return_inverse=True, return_counts=True)
    usual = rows >= np.median(rows) / 2  # the first and the last may be cut
    return np.asarray((np.bincount(code, losses) / rows)[usual]), np.asarray(numbers[usual] % parts)


def _differs(means: Vector, phase: Codes) -> bool:
    """True where the parts of the cycle differ by more than chance (one-way analysis of variance)."""
    rows = np.bincount(phase)
    phases = int((rows > 0).sum())
    free = len(means) - phases
    if phases < 2 or free < 1:
        return False
    levels = (np.bincount(phase, means) / np.maximum(rows, 1))[phase]
    within = float(np.square(means - levels).sum()) / free
    between = float(np.square(levels - means.mean()).sum()) / (phases - 1)
    return within > 0 and bool(fdtrc(phases - 1, free, between / within) < _RISK)


def _two_days_differ(means: Vector, weekday: Codes) -> bool:
    """True where two neighbouring days of the week, such as a weekend, differ from the other five."""
    for first in range(7):
        two = np.isin(weekday, (first, (first + 1) % 7))
        inside, outside = means[two], means[~two]
        free = len(means) - 2
        if min(len(inside), len(outside)) < 2:
            continue
        squares = float(np.square(inside - inside.mean()).sum() + np.square(outside - outside.mean()).sum())
        spread = (squares / free * (1 / len(inside) + 1 / len(outside))) ** 0.5
        if spread > 0 and 2 * stdtr(free, -abs(inside.mean() - outside.mean()) / spread) < _RISK / 7:
            return True
    return False
