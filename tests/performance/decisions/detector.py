"""The running e-detector of concept drift, and the triggers beside it: false alarms by those promised, and power."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.special import expit, ndtr

from optagent.analysis.concept_drift import row_losses
from optagent.analysis.loss_watch import LossWatch, started_watch
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import metric_values
from optagent.domain.model import Task
from optagent.domain.monitoring import Monitoring, Window
from optagent.loop.observe.falls import falls_since_reference, watched_names
from optagent.loop.observe.reference import Reference, baseline_of_reference, decode_reference, encode_reference
from optagent.loop.observe.running_detector import learned_baseline, must_learn
from optagent.training.metrics import METRICS
from tests.performance.decisions.case import Case
from tests.simulation.quiet_year import EVERY_DAYS, SPEC, Stream, answered_rows, count_runs, reference_of
from tests.simulation.streams import (
    DAY_S,
    Series,
    autoregressive,
    bursts,
    daily_cycle,
    day_effects,
    request_times,
    weekly_cycle,
)

EVERY_S = EVERY_DAYS * DAY_S
Shift = Callable[[np.random.Generator, Series], Series]


def _no_shift(rng: np.random.Generator, time: Series) -> Series:
    return np.zeros(len(time))


@dataclass(frozen=True, slots=True)
class Losses:
    """Rows of a classifier: `memory` is that of labels, `shift` of the logit of the label is unknown to the model; live
    rows lose `rise` more than those of the reference, as a share."""

    rows_a_day: int = 100
    reference_days: float = 20
    live_days: int = 360
    memory: float = 0.0
    shift: Shift = _no_shift
    rise: float = 0.0

    def rows(self, seed: int) -> ObservedRows:
        rng = np.random.default_rng([seed, 7])
        time = request_times(round(self.rows_a_day * (self.reference_days + self.live_days)), self.rows_a_day)
        logit = 1.2 * rng.standard_normal(len(time)) - 1.0
        score = expit(logit)
        label = ndtr(autoregressive(rng, len(time), self.memory)) < expit(logit + self.shift(rng, time))
        if self.rise:
            loss, other = np.square(label - score), np.square(1 - label - score)
            share = self.rise * loss.mean() / (other.mean() - loss.mean())
            label ^= (rng.random(len(time)) < share) & (time >= self.reference_days * DAY_S)
        return answered_rows(score, label, time)


@dataclass(frozen=True, slots=True)
class Watching:
    """A detector that runs on over live rows in portions of so many days."""

    losses: Losses
    portion_days: float = 7.0
    stored: Callable[[Reference], Reference] = lambda reference: reference

    def ratio(self, runs: int) -> float:
        """False alarms by those that were asked for at most, over all runs."""
        alarms = 0
        watched_s = 0.0
        for seed in range(runs):
            times, seconds = self.alarms(seed)
            alarms += len(times)
            watched_s += seconds
        return alarms / (watched_s / EVERY_S)

    def share_found(self, runs: int) -> float:
        return float(np.mean([bool(self.alarms(seed, most=1)[0]) for seed in range(runs)]))

    def median_days(self, runs: int) -> float:
        found = [self.alarms(seed, most=1)[0] for seed in range(runs)]
        return float(np.median([times[0] / DAY_S if times else np.inf for times in found]))

    def alarms(self, seed: int, most: int = 1_000_000) -> tuple[list[float], float]:
        """The seconds from the first live row to each alarm, and all the seconds that were watched."""
        rows, start = self.losses.rows(seed), self.losses.reference_days * DAY_S
        reference = self.stored(reference_of(rows.within(Window(0.0, start))))
        end = float(rows.time[-1]) + 1.0
        watch, unit, until = first_watch(reference, rows, start, end)
        idle_s, times = until, []
        while until < end and len(times) < most:
            part = rows.within(Window(until, min(end, until + self.portion_days * DAY_S)))
            until += self.portion_days * DAY_S
            watch = watch.after(row_losses(part, unit), part.time, until, EVERY_S)
            if watch.alarmed_at is not None:
                times.append(watch.alarmed_at - start)
                idle_s += until - watch.alarmed_at
                watch = watch.renew(answered=True)
        return times, until - idle_s


def first_watch(reference: Reference, rows: ObservedRows, start: float, end: float) -> tuple[LossWatch, float, float]:
    """The watch as it begins, the unit of losses, and the time from which on it takes rows."""
    baseline = baseline_of_reference(reference)
    assert baseline is not None
    until = start
    if must_learn(baseline):
        learned = None
        while learned is None and until + DAY_S < end:
            until += DAY_S
            learned = learned_baseline(rows.within(Window(start, until)), until, EVERY_S)
        baseline = learned or baseline
    return started_watch(baseline.blocks, until), baseline.unit, until


def stored_reference(reference: Reference) -> Reference:
    """As it is read again: of more than 20,000 rows, every fifth, tenth ... is kept."""
    return decode_reference(encode_reference(reference))


def older_reference(reference: Reference) -> Reference:
    """As an older version stored it, without the losses of all rows."""
    return replace(stored_reference(reference), baseline=None)


def falls_ratio(rows_a_day: int, memory: float, window_days: float, runs: int) -> float:
    """Windows in which a watched metric is called degraded, by one in 90 days."""
    monitoring, alarms, windows = Monitoring(performance_window_hours=24 * window_days), 0, 0
    measures = [METRICS[name] for name in sorted(watched_names(SPEC))]
    for seed in range(runs):
        stream = Stream(rows_a_day=rows_a_day, memory=memory, live_days=91)
        rows, start = stream.rows(seed), stream.reference_days * DAY_S
        reference = reference_of(rows.within(Window(0.0, start)))
        for number in range(round(stream.live_days / window_days)):
            first = start + number * window_days * DAY_S
            part = rows.within(Window(first, first + window_days * DAY_S))
            falls = falls_since_reference(part, metric_values(part, measures), reference, SPEC, monitoring)
            alarms += any(fall.degraded for fall in falls if fall.watched)
            windows += 1
    return alarms / (windows * window_days / EVERY_DAYS)


def falls_found(share: float, runs: int) -> float:
    """The share of daily windows of 200 rows that are called degraded where a share of the labels is flipped."""
    monitoring, found = Monitoring(), []
    measures = [METRICS[name] for name in sorted(watched_names(SPEC))]
    for seed in range(runs):
        rows = Stream(rows_a_day=200, reference_days=30, live_days=1).rows(seed)
        reference, part = reference_of(rows.where(rows.time < 30 * DAY_S)), rows.where(rows.time >= 30 * DAY_S)
        flipped = np.random.default_rng(seed).random(len(part)) < share
        part = replace(part, task=Task.BINARY, y=np.where(flipped, 1 - part.y, part.y))
        falls = falls_since_reference(part, metric_values(part, measures), reference, SPEC, monitoring)
        found.append(any(fall.degraded for fall in falls if fall.watched))
    return float(np.mean(found))


def runs_ratio(memory: float, window_hours: float, runs: int) -> float:
    """Runs that degradation, concept drift and confidence start in a year without change, by those promised."""
    years = [count_runs(Stream(memory=memory), window_hours, seed) for seed in range(runs)]
    promised = 3 * sum(windows for *_, windows in years) * window_hours / 24 / EVERY_DAYS
    return sum(counts.total() for counts, *_ in years) / promised


def _weekend(rng: np.random.Generator, time: Series) -> Series:
    return 0.6 * (weekly_cycle(time) > 0)


def _day(rng: np.random.Generator, time: Series) -> Series:
    return 0.5 * daily_cycle(time)


def _days(rng: np.random.Generator, time: Series) -> Series:
    return 0.3 * day_effects(rng, time)


def _difficulty(rng: np.random.Generator, time: Series) -> Series:
    return 0.5 * autoregressive(rng, len(time), 0.999)


def _bursts(rng: np.random.Generator, time: Series) -> Series:
    return 1.0 * bursts(rng, len(time), 0.05, 30.0)


BUSY = Losses(rows_a_day=500, reference_days=40)
MANY = Losses(rows_a_day=5_000, reference_days=20, live_days=90, memory=0.9)
FALSE = {
    "iid": ("independent rows, 100 a day", Watching(Losses()), 100, ".00"),
    "ar9": ("AR(.9), 500 a day", Watching(replace(BUSY, memory=0.9)), 60, ".00"),
    "daily": ("daily cycle", Watching(replace(BUSY, shift=_day)), 60, ".00"),
    "week": ("weekend, reference of 40 days", Watching(replace(BUSY, shift=_weekend)), 60, "2.9"),
    "week-4": ("weekend, reference of 4 days", Watching(replace(BUSY, reference_days=4, shift=_weekend)), 60, "8.8"),
    "days": ("effects of days", Watching(replace(BUSY, shift=_days)), 60, "2.3"),
    "ar999": (
        "difficulty AR(.999), 2,000 rows",
        Watching(replace(BUSY, reference_days=4, shift=_difficulty)),
        60,
        "11.8",
    ),
    "bursts": ("bursts of 30 hard rows", Watching(replace(BUSY, shift=_bursts)), 60, ".93"),
    "thinned": ("AR(.9), thinned 1 in 5", Watching(MANY, stored=stored_reference), 40, "7.1"),
    "thinned-old": ("the same, of an older version", Watching(MANY, stored=older_reference), 40, "7.1"),
}
DAILY = partial(Watching, portion_days=1.0)
SMALL_RISE, RISE = Losses(live_days=90, rise=0.06), Losses(live_days=90, rise=0.12)

BY_ASKED, BY_PROMISED = "false, by asked", "runs by promised"
FALLS = (
    ("degradation-iid", "40 rows a day", BY_ASKED, "<= 1.3", 24, partial(falls_ratio, 40, 0.0, 1), "4.0"),
    ("degradation-ar9", "AR(.9), 40 a day", BY_ASKED, "<= 1.3", 24, partial(falls_ratio, 40, 0.9, 1), "9.6"),
    ("degradation-week", "AR(.9), windows of a week", BY_ASKED, "<= 1.3", 40, partial(falls_ratio, 40, 0.9, 7), "1.1"),
    ("degradation-power-10", "10 % flipped, 200 rows", "found in a day", "", 40, partial(falls_found, 0.1), ".32"),
    ("degradation-power-20", "20 % flipped, 200 rows", "found in a day", "", 40, partial(falls_found, 0.2), ".88"),
)
TRIGGERS = (
    ("triggers-iid-24h", "40 rows a day", BY_PROMISED, "<= 1.3", 6, partial(runs_ratio, 0.0, 24.0)),
    ("triggers-ar9-24h", "AR(.9)", BY_PROMISED, "<= 1.3", 6, partial(runs_ratio, 0.9, 24.0)),
    ("triggers-ar9-week", "AR(.9), windows of a week", BY_PROMISED, "<= 1.3", 12, partial(runs_ratio, 0.9, 168.0)),
)
POWER = (
    (
        "detector-power-6",
        "Brier +6 %, 100 a day",
        "found in 90 days",
        ">= .7",
        100,
        DAILY(SMALL_RISE).share_found,
        ".05",
    ),
    (
        "detector-power-12",
        "Brier +12 %, 100 a day",
        "median days",
        "<= 15",
        100,
        DAILY(RISE).median_days,
        "never (.12)",
    ),
)

CASES = [
    *(
        Case(f"detector-{name}", "concept drift", stream, BY_ASKED, ".5 to 1.5", runs, watching.ratio, before)
        for name, (stream, watching, runs, before) in FALSE.items()
    ),
    *(Case(name, "concept drift", *rest) for name, *rest in POWER),
    *(Case(name, "degradation", *rest) for name, *rest in FALLS),
    *(Case(name, "all triggers", *rest) for name, *rest in TRIGGERS),
]
