"""Coverage of prediction intervals, tenth by tenth, on streams with drift, days, bursts and late labels.

The figure of a row is the worst of all tenths of all runs: by how many points the coverage of 90 % intervals is off.
Passes are the product's own, a few a day; rows are judged by the thresholds that answered them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from optagent.conformal.tracker import IntervalTracker
from optagent.domain.model import Task
from optagent.domain.prediction_interval import LEVELS
from optagent.loop.intervals.learn import first_record, learn_rows
from optagent.loop.intervals.scored_rows import ScoredRows
from tests.performance.decisions.case import Case
from tests.simulation.streams import (
    DAY_S,
    autoregressive,
    bursts,
    daily_cycle,
    day_effects,
    label_delays,
    request_times,
    weekly_cycle,
)

Array = npt.NDArray[np.float64]

ROWS_A_DAY, HOLDOUT, ROWS = 100.0, 2_000, 20_000
TENTHS = 10
LEVEL = LEVELS.index(0.9)
PASSES_A_DAY = 8
_MOST_WAITING_S = 10 * DAY_S


@dataclass(frozen=True, slots=True, eq=False)
class ScoreStream:
    """The scores of a holdout, and of rows that are answered at `times` and labelled `delay_s` later, in seconds."""

    holdout: Array
    scores: Array
    times: Array
    delay_s: Array


@dataclass(frozen=True, slots=True, eq=False)
class CoverageRun:
    """(rows, levels) what the intervals covered, and what those of split conformal would have; `width` is the mean of
    the thresholds of 90 % as a part of split conformal's."""

    tracked: npt.NDArray[np.bool_]
    split: npt.NDArray[np.bool_]
    width: float


def run_intervals(stream: ScoreStream, pass_s: float, task: Task = Task.REGRESSION) -> CoverageRun:
    """Answers a stream by the thresholds that are published, with a pass every `pass_s` seconds."""
    count, times = len(stream.scores), stream.times
    hashes, due = np.arange(count, dtype=np.uint64), times + stream.delay_s
    record = first_record("m", "1", IntervalTracker(task, stream.holdout), float(times[0]))
    split, served = np.array(record.published.thresholds), np.empty((count, len(LEVELS)))
    answered, now = 0, float(times[0])
    while answered < count:
        now += pass_s
        end = int(np.searchsorted(times, now))
        served[answered:end] = record.published.thresholds
        answered = end
        start = int(np.searchsorted(times, max(record.open_since, now - _MOST_WAITING_S)))
        part = slice(start, end)
        known = np.where(due[part] <= now, stream.scores[part], np.nan)
        record = learn_rows(record, ScoredRows(hashes[part], (times[part] * 1e6).astype(np.int64), known), now)
    scores = stream.scores[:, None]
    return CoverageRun(scores <= served, scores <= split, float(served[:, LEVEL].mean() / split[LEVEL]))


def tenths_of(covered: npt.NDArray[np.bool_], level: int = LEVEL) -> Array:
    """(10,) the coverage of each tenth of the rows."""
    return np.array([part.mean() for part in np.array_split(covered[:, level], TENTHS)])


def _normal(scale: Callable[[np.random.Generator, Array], Array], rng: np.random.Generator, times: Array) -> Array:
    """Distances of normal errors with that scale."""
    return np.abs(rng.standard_normal(len(times))) * scale(rng, times)


def _remembering(rng: np.random.Generator, times: Array) -> Array:
    return np.abs(autoregressive(rng, len(times), 0.9))


def _growing(rng: np.random.Generator, times: Array) -> Array:
    return np.exp(2.0 * np.arange(len(times)) / len(times))


def _jumping(rng: np.random.Generator, times: Array) -> Array:
    return np.where((np.arange(len(times)) * 4 // len(times)) % 2 == 1, 3.0, 1.0)


def _mooded(rng: np.random.Generator, times: Array) -> Array:
    return np.exp(0.3 * day_effects(rng, times, 0.7))


def _weekly(rng: np.random.Generator, times: Array) -> Array:
    return np.exp(0.3 * weekly_cycle(times) + 0.2 * daily_cycle(times))


def _bursting(rng: np.random.Generator, times: Array) -> Array:
    return np.where(bursts(rng, len(times), 0.05, 40.0), 5.0, 1.0)


def _all_at_once(rng: np.random.Generator, times: Array) -> Array:
    return _bursting(rng, times) * _mooded(rng, times) * _growing(rng, times)


STREAMS: dict[str, Callable[[np.random.Generator, Array], Array]] = {
    "still": partial(_normal, lambda rng, times: np.ones(len(times))),
    "memory": _remembering,
    "growing": partial(_normal, _growing),
    "jumping": partial(_normal, _jumping),
    "days": partial(_normal, _mooded),
    "weeks": partial(_normal, _weekly),
    "bursts": partial(_normal, _bursting),
    "all": partial(_normal, _all_at_once),
}
HOLDOUTS = {"growing": "still", "jumping": "still", "all": "bursts"}
"""The streams that drift, each with that of its holdout."""

DELAYS = ("once", "hours", "day", "week")


def stream_of(name: str, late: str, seed: int, rows: int = ROWS) -> ScoreStream:
    """A stream by its name. Labels come at once, within `hours` and the later the larger the error, or after a day or a
    week."""
    rng = np.random.default_rng([seed, sorted(STREAMS).index(name)])
    times = request_times(HOLDOUT + rows, ROWS_A_DAY)
    holdout = STREAMS[HOLDOUTS.get(name, name)](rng, times[:HOLDOUT])
    live = STREAMS[name](rng, times[HOLDOUT:])
    delay = {"once": 0.0, "hours": 0.0, "day": DAY_S, "week": 7 * DAY_S}[late] * np.ones(rows)
    if late == "hours":
        delay = label_delays(rng, live - np.median(live), DAY_S / 8, slower=2.0)
    return ScoreStream(holdout, live, times[HOLDOUT:], delay)


def worst_tenth(runs: int, name: str, late: str = "hours", is_split: bool = False, rows: int = ROWS) -> float:
    """The points by which the coverage of the worst tenth of all runs is off 90."""
    worst = 0.0
    for seed in range(runs):
        run = run_intervals(stream_of(name, late, seed, rows), DAY_S / PASSES_A_DAY)
        worst = max(worst, float(np.abs(tenths_of(run.split if is_split else run.tracked) - 0.9).max()))
    return 100 * worst


def _case(name: str, late: str) -> Case:
    words = {"once": "at once", "hours": "hours late", "day": "a day late", "week": "a week late"}[late]
    asked = "<= 2" if late == "once" else ""
    measure = partial(worst_tenth, name=name, late=late)
    return Case(f"intervals-{name}-{late}", "intervals", f"{name}, labels {words}", "points off 90", asked, 10, measure)


CASES = [
    *(_case(name, late) for name in STREAMS for late in DELAYS),
    *(
        Case(
            f"intervals-{name}-split",
            "split conformal",
            name,
            "points off 90",
            "> 2: why labels are followed",
            10,
            partial(worst_tenth, name=name, is_split=True),
        )
        for name in STREAMS
    ),
]
