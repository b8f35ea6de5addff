"""Entrants of the arena by group and by name, in the order of its tables."""

from collections.abc import Callable, Iterable
from functools import partial

from tests.performance.arena.calendars import BACK, EVERY, Calendar, calendar_name
from tests.performance.arena.entrant import Entrant, Outcome, replay
from tests.performance.arena.mixtures import CalendarMixture, recalibration
from tests.performance.arena.peers import AdaptiveForest, AdwinTrigger, LastBlock
from tests.performance.arena.policies import NAMES, replay_policy
from tests.performance.arena.streams import StreamFiles, stream_named

NEVER, CALENDAR, RIVER, POLICY = "never", "calendar", "river", "policies"
_CALENDARS: dict[str, Callable[[], Entrant]] = {
    calendar_name(every, back): partial(Calendar, every, back) for every in EVERY for back in BACK
}
_BY_GROUP: dict[str, dict[str, Callable[[], Entrant]]] = {
    NEVER: {NEVER: Calendar},
    "recalibration": {"recalibration alone": recalibration},
    CALENDAR: _CALENDARS,
    "adwin": {"newest 30 when ADWIN alarms": AdwinTrigger},
    RIVER: {"river: adaptive random forest": AdaptiveForest},
    "repeat": {"labels of the last block": LastBlock},
    "mixture": {
        f"mixture of four slots, every {every} blocks": partial(CalendarMixture, every=every) for every in (10, 30)
    },
}
GROUPS = (*_BY_GROUP, POLICY)
CALENDARS = frozenset(_CALENDARS)
REPLAYED = frozenset(NAMES)


def names_of(groups: Iterable[str]) -> list[str]:
    """The entrants of these groups, policies by their own names, and `never`, by which all are measured.

    >>> names_of(["repeat"])
    ['never', 'labels of the last block']
    """
    wanted = {NEVER, *groups}
    names = [name for group, entrants in _BY_GROUP.items() if group in wanted for name in entrants]
    return [*names, *(name for name in NAMES if POLICY in wanted or name in wanted)]


def seeds_of(name: str, seeds: int) -> int:
    """The runs of an entrant: only policies differ from seed to seed."""
    return seeds if name in REPLAYED else 1


def run_entrant(stream_name: str, files: StreamFiles, name: str, seed: int) -> Outcome:
    """The outcome of an entrant on a stream, in this process."""
    stream = stream_named(stream_name, files)
    if name in REPLAYED:
        return replay_policy(name, stream, seed)
    make = next(entrants[name] for entrants in _BY_GROUP.values() if name in entrants)
    return replay(name, make(), stream)
