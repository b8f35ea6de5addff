"""The drift of features and predictions: false alarms of a world that only has hours, days and weeks, and power in it.

Each run goes the way of the monitor: a profile of the reference, the counts of each window, its report with the windows
before it. An alarm is a stretch of windows in which the features or the predictions have drifted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from optagent.analysis.binned_counts import BinCounter, BinnedCounts
from optagent.analysis.drift import report_drift
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.analysis.profile import make_profile
from optagent.analysis.whole_windows import LiveWindows
from optagent.domain.drift import DriftStatus
from optagent.domain.model import Task
from optagent.domain.monitoring import Window
from tests.performance.decisions.case import Case
from tests.simulation.streams import (
    DAY_S,
    Series,
    autoregressive,
    daily_cycle,
    day_effects,
    request_times,
    weekly_cycle,
)

_MONDAY = 1_704_067_200.0  # 2024-01-01
_EVERY_DAYS = 90
_WINDOWS = 8  # that the monitor reads
_CATEGORIES = 200

Column = Callable[[np.random.Generator, Series], Series]  # of times since a Monday


@dataclass(frozen=True, slots=True)
class World:
    """Columns that are alike, of a reference and of live days after it; `shift` is that of the first live column."""

    column: Column
    reference_days: int = 60
    live_days: int = 100
    window_days: int = 1
    shift: float = 0.0
    columns: int = 20
    rows_a_day: int = 500
    categorical: bool = False


def independent(rng: np.random.Generator, times: Series) -> Series:
    return rng.standard_normal(len(times))


def remembering(phi: float) -> Column:
    return lambda rng, times: autoregressive(rng, len(times), phi)


def with_days(sd: float, phi: float) -> Column:
    """Rows with an effect of their day, where days remember the one before."""
    return lambda rng, times: independent(rng, times) + sd * day_effects(rng, times, phi)


def with_hours(rng: np.random.Generator, times: Series) -> Series:
    """Rows with a daily cycle as large as their noise."""
    return independent(rng, times) + daily_cycle(times)


def with_weekends(rng: np.random.Generator, times: Series) -> Series:
    """Rows of which those of a weekend are half a standard deviation higher."""
    return independent(rng, times) + 0.5 * np.sqrt(2 / 7 * 5 / 7) * weekly_cycle(times)


def with_seasons(rng: np.random.Generator, times: Series) -> Series:
    """Rows with half a standard deviation of a year's cycle, which begins anywhere."""
    return independent(rng, times) + 0.5 * daily_cycle(times / 365 + rng.random() * DAY_S)


def categories(rng: np.random.Generator, times: Series) -> Series:
    """200 categories by Zipf's law, each in a run of five rows."""
    shares = 1 / np.arange(1, _CATEGORIES + 1)
    runs = rng.choice(_CATEGORIES, len(times) // 5 + 1, p=shares / shares.sum())
    return np.repeat(runs, 5)[: len(times)].astype(np.float64)


def drifted_windows(world: World, seed: int) -> list[bool]:
    """Of each live window: did the features or the predictions drift?"""
    rows = _rows_of(world, seed)
    live_from = _MONDAY + world.reference_days * DAY_S
    profile = make_profile(rows.within(Window(_MONDAY, live_from)))
    length = world.window_days * DAY_S
    counter, level = BinCounter(profile, length / 24), min(0.05, world.window_days / _EVERY_DAYS)
    counts: list[BinnedCounts] = []
    drifted = []
    start = np.ceil(live_from / length) * length
    while start + length <= live_from + world.live_days * DAY_S:
        window = Window(float(start), float(start + length))
        counts = [counter.fold(rows.within(window)), *counts][:_WINDOWS]
        report = report_drift(profile, LiveWindows(tuple(counts), window), {}, level)
        drifted.append(DriftStatus.DRIFTED in (report.status, report.prediction_status))
        start += length
    return drifted


def false_alarms(world: World) -> Callable[[int], float]:
    """Alarms in 90 days; 1 is what `false_alarm_every` asks for, for features and for predictions each."""

    def measure(runs: int) -> float:
        alarms, days = 0, 0
        for seed in range(runs):
            drifted = drifted_windows(world, seed)
            alarms += sum(now and not before for before, now in zip([False, *drifted], drifted, strict=False))
            days += len(drifted) * world.window_days
        return _EVERY_DAYS * alarms / days

    return measure


def false_windows(world: World) -> Callable[[int], float]:
    """The share of windows that have drifted: one alarm that lasts for months counts as long as it lasts."""
    return lambda runs: float(np.mean([np.mean(drifted_windows(world, seed)) for seed in range(runs)]))


def windows_to_alarm(world: World) -> Callable[[int], float]:
    """The median number of windows from the shift to the alarm, 1 for the first one shifted; infinite for never."""

    def measure(runs: int) -> float:
        return float(np.median([_first_alarm(drifted_windows(world, seed)) for seed in range(runs)]))

    return measure


def _first_alarm(drifted: list[bool]) -> float:
    return drifted.index(True) + 1.0 if any(drifted) else float("inf")


def _rows_of(world: World, seed: int) -> ObservedRows:
    rng = np.random.default_rng([seed, world.reference_days, world.window_days])
    rows = (world.reference_days + world.live_days) * world.rows_a_day
    times = request_times(rows, world.rows_a_day)
    x = np.column_stack([world.column(rng, times) for _ in range(world.columns)])
    x[world.reference_days * world.rows_a_day :, 0] += world.shift
    kind, labels = ("categorical", tuple(map(str, range(_CATEGORIES)))) if world.categorical else ("numeric", ())
    unknown = np.full(rows, np.nan)
    return ObservedRows(
        task=Task.REGRESSION,
        columns=tuple(ObservedColumn(f"c{place}", kind, labels) for place in range(world.columns)),
        x=x.astype(np.float32),
        prediction=x[:, 0].copy(),
        y=unknown,
        time=_MONDAY + times,
        latency_ms=unknown,
    )


def _quiet(name: str, stream: str, world: World, asked: str = "<= 1", before: str = "") -> Case:
    return Case(f"drift-false-{name}", "drift", stream, "false alarms in 90 d", asked, 5, false_alarms(world), before)


def _shifted(name: str, stream: str, world: World, asked: str, before: str = "") -> Case:
    live_days = 12 * world.window_days
    measure = windows_to_alarm(replace(world, live_days=live_days))
    return Case(f"drift-power-{name}", "drift", stream, "median windows", asked, 8, measure, before)


CASES = [
    _quiet("iid", "independent rows", World(independent), before=".7"),
    _quiet("ar6", "AR(.6) rows", World(remembering(0.6)), before=".7"),
    _quiet("ar9", "AR(.9) rows", World(remembering(0.9)), before=".7"),
    _quiet("ar99", "AR(.99) rows", World(remembering(0.99)), before=".5"),
    _quiet("hours", "daily cycle of 1 sd", World(with_hours), before="0"),
    _quiet("week-30", "weekend of .5 sd, reference 30 d", World(with_weekends, 30), before="3.8"),
    _quiet("week-14", "weekend of .5 sd, reference 14 d", World(with_weekends, 14), "<= 2", before="12.6"),
    _quiet("week-7", "weekend of .5 sd, reference 7 d", World(with_weekends, 7), "<= 2", before="13.1"),
    _quiet("week-3", "weekend of .5 sd, reference 3 d", World(with_weekends, 3), "<= 2", before="13.5"),
    _quiet("days-7", "days of .3 sd, AR(.7)", World(with_days(0.3, 0.7)), "<= 2", before="5.2"),
    _quiet("days-9", "days of .3 sd, AR(.9)", World(with_days(0.3, 0.9)), "<= 2", before="8.3"),
    _quiet("days-9-30d", "days of .3 sd, AR(.9), reference 30 d", World(with_days(0.3, 0.9), 30), "<= 2"),
    _quiet("days-9-14d", "days of .3 sd, AR(.9), reference 14 d", World(with_days(0.3, 0.9), 14), "<= 2"),
    _quiet("days-97", "days of .3 sd, AR(.97)", World(with_days(0.3, 0.97)), "<= 2", before="3.6"),
    Case(
        "drift-false-days-97-windows",
        "drift",
        "days of .3 sd, AR(.97)",
        "share of windows",
        "<= .022",
        5,
        false_windows(World(with_days(0.3, 0.97))),
        ".88",
    ),
    _quiet("zipf", "200 categories in runs of 5", World(categories, categorical=True, columns=5), before="1.8"),
    _quiet("weekly-iid", "independent rows, windows of a week", World(independent, 60, 364, 7), before="0"),
    _quiet(
        "weekly-days-9",
        "days of .3 sd, AR(.9), windows of a week",
        World(with_days(0.3, 0.9), 60, 364, 7),
        "<= 2",
        before=".3",
    ),
    _shifted("iid-25", "independent rows, .25 sd", World(independent, shift=0.25), "<= 2", before="2"),
    _shifted("iid-15", "independent rows, .15 sd", World(independent, shift=0.15), "", before="2"),
    _shifted(
        "iid-14d-50", "independent rows, reference 14 d, .5 sd", World(independent, 14, shift=0.5), "<= 5", before="1"
    ),
    _shifted("hours-50", "daily cycle of 1 sd, .5 sd", World(with_hours, shift=0.5), "<= 5", before="never"),
    _shifted("week-25", "weekend of .5 sd, .25 sd", World(with_weekends, shift=0.25), "<= 5", before="3"),
    _shifted(
        "season-100",
        "season of .5 sd, reference 365 d, 1 sd",
        World(with_seasons, 365, shift=1.0),
        "<= 5",
        before="never",
    ),
    _shifted(
        "weekly-25",
        "weekend of .5 sd, windows of a week, .25 sd",
        World(with_weekends, 60, 1, 7, 0.25),
        "<= 2",
        before="2",
    ),
]
