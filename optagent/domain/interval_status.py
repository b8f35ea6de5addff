"""Interval status: the coverage that a model's intervals were asked for, and the one seen, as people read it."""

from dataclasses import dataclass

from optagent.domain.answer import Answer
from optagent.domain.study import Interval


@dataclass(frozen=True, slots=True)
class SpellCoverage:
    """A tenth of the time with outcomes: its `rows`, and the share of them that the intervals covered, None for none.

    `start` and `end` are POSIX seconds, of whole days.
    """

    start: float
    end: float
    rows: int
    coverage: Interval | None


@dataclass(frozen=True, slots=True)
class LevelStanding:
    """A level: the threshold that answers now, and the coverage that was seen, None before the first outcome.

    `width` is that of a range, in units of the target; None for sets of labels.
    """

    level: float
    threshold: float
    width: float | None
    coverage: Interval | None


@dataclass(frozen=True)
class IntervalStatus(Answer):
    """The intervals of a model: the watched level, its coverage in all and by tenth of time, its width, and its alert.

    `rows` are the outcomes of the days that are kept, and `began_at` (POSIX seconds) the time at which the intervals of
    `version` started from its holdout. Intervals of coverages are exact for independent rows. `waits_for` names a fault
    for whose end learning waits. `alert` is the message of the open alert, "" where none is open.
    """

    model_id: str
    version: str
    level: float
    rows: int
    coverage: Interval | None
    width: float | None
    levels: tuple[LevelStanding, ...]
    tenths: tuple[SpellCoverage, ...]
    began_at: float
    looked_at: float
    waits_for: str = ""
    alert_is_open: bool = False
    alert: str = ""
