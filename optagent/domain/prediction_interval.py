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
    """The thresholds of an answer's interval or set of labels.

    For a regression the score is the distance from the answer in units of the target; for classes it is 1 minus the
    probability of the label, and 0 for the most probable one.
    """

    thresholds: tuple[float, ...]
    """The scores up to which a value or label belongs to the interval or set, one for each of `LEVELS`."""

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(LEVELS) or list(self.thresholds) != sorted(self.thresholds):
            raise InvalidRequest(f"thresholds: {len(LEVELS)} in rising order are needed, got {self.thresholds}")
        if not 0 <= self.thresholds[0] <= self.thresholds[-1] < float("inf"):
            raise InvalidRequest(f"thresholds must be finite and not negative, got {self.thresholds}")


@dataclass(frozen=True, slots=True)
class ServedThresholds:
    """Thresholds that answered for some time."""

    at: float
    """The time from which they answered."""
    learned: int
    """The number of rows that the tracker had learned by then."""
    thresholds: tuple[float, ...]
    """The thresholds, one for each of `LEVELS`."""


@dataclass(frozen=True, slots=True)
class IntervalRecord:
    """The journal of a model's intervals: what they have learned, and the thresholds that answer."""

    model_id: str
    """The model whose intervals these are."""
    version: str
    """The champion from whose holdout the tracker started."""
    began_at: float
    """The time at which it started."""
    state: Mapping[str, Any]
    """The tracker's state."""
    published: IntervalThresholds
    """The thresholds that the gateways use."""
    looked_at: float = 0.0
    """The time of the last pass."""
    open_since: float = 0.0
    """The time of the oldest row that waits for its label."""
    known: str = ""
    """The rows since then that were learned: 8 bytes of a hash of each id, as base64 text."""
    served: tuple[ServedThresholds, ...] = ()
    """The thresholds of the time since `open_since`, the oldest first."""
    covered: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By day since 1970, the learned rows, and then those that each level has covered."""
    waits_for: str = ""
    """The fault whose end the learning waits for, in words."""
