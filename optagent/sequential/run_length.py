"""Average run length: the mean number of rows between false alarms, from a time such as 90 days."""

import numpy as np
import numpy.typing as npt

from optagent.errors import InvalidRequest


def rows_per_second(time: npt.NDArray[np.float64]) -> float | None:
    """The rate of rows whose times (POSIX seconds) are in order; None for fewer than two instants."""
    span = float(time[-1] - time[0]) if len(time) > 1 else 0.0
    return (len(time) - 1) / span if span > 0 else None


def arl_rows(false_alarm_every_s: float, rate: float) -> float:
    """The average run length in rows, for `rate` rows a second.

    >>> arl_rows(90 * 86400, 0.01)
    77760.0
    """
    if not (false_alarm_every_s > 0 and rate > 0):
        raise InvalidRequest(
            f"false_alarm_every_s and the rows a second must be above 0, got {false_alarm_every_s} and {rate}"
        )
    return false_alarm_every_s * rate
