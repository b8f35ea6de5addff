"""Streams of the arena by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tests.performance.arena import synthetic
from tests.performance.arena.stream import Stream, stream_of
from tests.performance.histories import Told, elec2, flights, stocks, year

_ALL_DAYS = 10_000


@dataclass(frozen=True, slots=True)
class StreamFiles:
    """Files of streams that do not come with a package; those without one are left out. `most_blocks` cuts streams."""

    elec2: Path | None = None
    flights: Path | None = None
    most_blocks: int | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    title: str
    block: str
    make_history: Callable[[], Told] | None = None


_ENTRIES = {
    "elec2": _Entry("the electricity market of New South Wales, blocks of a day", "1d"),
    "stocks": _Entry("whether a share's next day is turbulent, blocks of a week", "7d", lambda: stocks("turbulent")),
    "flights": _Entry("every fourth flight from New York in 2013, late or not, blocks of a day", "1d"),
    "year": _Entry("a year of half hours with two changes, blocks of a day", "1d", year),
    "sea": _Entry("SEA, four concepts, 10 % noise, blocks of 50 rows", "1d", synthetic.sea_history),
    "hyperplane": _Entry("a rotating hyperplane, 5 % noise, blocks of 50 rows", "1d", synthetic.hyperplane_history),
    "still": _Entry("a stream without change, blocks of 50 rows", "1d", synthetic.still_history),
    "seasonal": _Entry("a yearly and a weekly cycle, blocks of 49 rows", "7d", synthetic.seasonal_history),
    "noisy": _Entry("no change, 20 % of labels flipped in a stretch, blocks of 50 rows", "1d", synthetic.noisy_history),
    "up": _Entry("whether a share rises next day, which is noise, blocks of a week", "7d", lambda: stocks("up")),
}
NAMES = tuple(_ENTRIES)
DEFAULT = tuple(name for name in NAMES if name != "up")


def title_of(name: str) -> str:
    return _ENTRIES[name].title


def reason_to_leave_out(name: str, files: StreamFiles) -> str | None:
    """The reason why a stream cannot be made, None where it can.

    >>> reason_to_leave_out("elec2", StreamFiles())
    'elec2 is left out: --elec2 FILE is not given'
    """
    if name in ("elec2", "flights") and getattr(files, name) is None:
        return f"{name} is left out: --{name} FILE is not given"
    return None


@lru_cache(maxsize=2)
def stream_named(name: str, files: StreamFiles) -> Stream:
    """The stream of that name, one of `NAMES`; it is kept for the next entrant of the same process."""
    return stream_of(name, _read_history(name, files), _ENTRIES[name].block, files.most_blocks)


def _read_history(name: str, files: StreamFiles) -> Told:
    if name == "elec2" and files.elec2 is not None:
        return elec2(files.elec2, _ALL_DAYS)
    if name == "flights" and files.flights is not None:
        return flights(files.flights)
    make = _ENTRIES[name].make_history
    assert make is not None, f"{name} is made of a file"
    return make()
