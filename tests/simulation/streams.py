"""Streams of users' data: series with memory, hours, weekdays, effects of days, bursts and late labels.

Each series is (rows,) float64 of mean 0 and, over a long time, of variance 1, so that a simulation can scale it.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

Series = npt.NDArray[np.float64]

DAY_S = 86_400.0


def request_times(rows: int, rows_a_day: float, start: float = 0.0) -> Series:
    """POSIX seconds of requests that come evenly."""
    return start + np.arange(rows) * (DAY_S / rows_a_day)


def autoregressive(rng: np.random.Generator, rows: int, phi: float) -> Series:
    """A series in which each row is `phi` times the one before, plus noise; 0 has no memory."""
    noise = rng.standard_normal(rows)
    noise[1:] *= np.sqrt(1 - phi * phi)
    return np.asarray(lfilter([1.0], [1.0, -phi], noise), dtype=np.float64)


def daily_cycle(times: Series) -> Series:
    """A sine of one day, the same on every day."""
    return np.sqrt(2) * np.sin(2 * np.pi * times / DAY_S)


def weekly_cycle(times: Series) -> Series:
    """A step that is up on two days of seven: the weekend, where time 0 is the start of a week."""
    is_weekend = (times // DAY_S) % 7 >= 5
    return np.asarray((is_weekend - 2 / 7) / np.sqrt(2 / 7 * 5 / 7), dtype=np.float64)


def day_effects(rng: np.random.Generator, times: Series, phi: float = 0.0) -> Series:
    """One value for all rows of a day; days are `phi` times the one before, plus noise."""
    days = np.floor(times / DAY_S).astype(np.int64)
    days -= days[0]
    return autoregressive(rng, int(days[-1]) + 1, phi)[days]


def bursts(rng: np.random.Generator, rows: int, rate: float, length: float) -> npt.NDArray[np.bool_]:
    """The rows of a state that holds for `length` rows in the mean and `rate` of the time: pauses, outages."""
    leave = 1 / length
    enter = rate * leave / (1 - rate)
    states = np.zeros(rows, dtype=np.bool_)
    is_on = rng.random() < rate
    for start, end in _spells(rng, rows, is_on, enter, leave):
        states[start:end] = True
    return states


def label_delays(rng: np.random.Generator, outcome: Series, mean_s: float, slower: float = 1.0) -> Series:
    """Seconds until each label comes, exponential; those of an outcome above 0 take `slower` times as long."""
    return rng.exponential(mean_s, len(outcome)) * np.where(outcome > 0, slower, 1.0)


def _spells(rng: np.random.Generator, rows: int, is_on: bool, enter: float, leave: float) -> Iterator[tuple[int, int]]:
    """Start and end of each spell of the state."""
    row = 0
    while row < rows:
        length = int(rng.geometric(leave if is_on else min(1.0, enter)))
        if is_on:
            yield row, min(rows, row + length)
        row, is_on = row + length, not is_on
