"""Prediction intervals: the levels and thresholds by which an answer gets its range or labels, and their journal."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optagent.errors import InvalidRequest

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
"""The coverages that are kept, as shares of rows. A level between two is answered by the next higher one."""


def level_place(level: float) -> int:
    """The place in `LEVELS` of the level that answers for one that was asked.

    >>> LEVELS[level_place(0.85)]
    0.9
    """
    if not LEVELS[0] <= level <= LEVELS[-1]:
        raise InvalidRequest(
            f"interval: a level is from {LEVELS[0]} to {LEVELS[-1]}, a share and no percentage: {level!r}"
        )
    return bisect_left(LEVELS, level)


@dataclass(frozen=True, slots=True)
class IntervalThresholds:
    """The scores up to which a value or label belongs to an answer's interval or set, one for each of `LEVELS`.

    For a regression the score is the distance from the answer in units of the target; for classes it is 1 minus the
    probability of the label, and 0 for the most probable one.
    """

    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(LEVELS) or list(self.thresholds) != sorted(self.thresholds):
            raise InvalidRequest(f"thresholds: {len(LEVELS)} in rising order are needed, got {self.thresholds}")
        if not 0 <= self.thresholds[0] <= self.thresholds[-1] < float("inf"):
            raise InvalidRequest(f"thresholds must be finite and not negative, got {self.thresholds}")


@dataclass(frozen=True, slots=True)
class ServedThresholds:
    """Thresholds that answered from `at` (POSIX seconds) on, and the rows that the tracker had learned by then."""

    at: float
    learned: int
    thresholds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class IntervalRecord:
    """The journal of a model's intervals: what they have learned, and the thresholds that answer.

    `state` is the tracker's, which started from the holdout of the champion `version` at `began_at`. The gateways use
    the `published` thresholds. `looked_at` is the time of the last pass, `open_since` the time of the oldest row that
    waits for its label. `known` are the rows since then that were learned, as 8 bytes of a hash of each id (base64
    text). `served` are the thresholds of the time since `open_since`, the oldest first. `covered` counts, by day since
    1970 of the rows, the learned rows and then those that each level has covered. Learning waits while `waits_for`
    names a fault, in words. Times are POSIX seconds.
    """

    model_id: str
    version: str
    began_at: float
    state: Mapping[str, Any]
    published: IntervalThresholds
    looked_at: float = 0.0
    open_since: float = 0.0
    known: str = ""
    served: tuple[ServedThresholds, ...] = ()
    covered: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    waits_for: str = ""
