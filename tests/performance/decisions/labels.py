"""Late labels: the bias of a young window's metrics, and the alarm for labels that have become slower.

A request of outcome 1 (one in five) is answered rightly in half of the cases, one of outcome 0 in nine of ten. Labels
of outcome 0 come after 6 hours on average, those of outcome 1 after two days, and one request in five never gets one.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import pyarrow as pa

from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.analysis.label_maturity import MaturityCurve
from optagent.analysis.maturity_weights import corrected_metric_values, weigh_rows
from optagent.analysis.performance import metric_values
from optagent.arrays import Vector
from optagent.domain.dataset import FileSource
from optagent.domain.label_maturity import LabelHistory
from optagent.domain.model import ModelSpec, Task
from optagent.domain.monitoring import Monitoring, Window
from optagent.domain.study import Interval
from optagent.loop.observe.label_history import LabelSource, count_due_cohorts, maturity_of
from optagent.loop.observe.window_rows import observe_window
from optagent.ports import Observations, RecordKind
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from optagent.training.metrics import METRICS
from tests.performance.decisions.case import Case
from tests.simulation.streams import DAY_S, day_effects, label_delays, request_times

HOUR_S = 3600.0
MODEL = "m"
SPEC = ModelSpec(MODEL, Task.BINARY, FileSource("rows.parquet"), "y", features=("x",))
SCHEMA = Schema((FeatureColumn("x", Kind.NUMERIC),), "y", Task.BINARY, ("no", "yes"))
MONITORING = Monitoring()
ACCURACY, LOG_LOSS = METRICS["accuracy"], METRICS["log_loss"]
TRUE_ACCURACY = 0.8 * 0.9 + 0.2 * 0.5


@dataclass(frozen=True)
class Requests:
    """Requests of a model: times, outcomes, probabilities, and the delays of labels, infinite where none comes."""

    time: Vector
    y: Vector
    probability: Vector
    delay: Vector

    def recorded(self, now: float) -> InMemoryObservations:
        """The rows as they are recorded by `now`."""
        observations, ids = InMemoryObservations(10**8), pa.array(np.arange(len(self.time)).astype(str))
        known = pa.array(self.time <= now)
        rows = {"id": ids, "time": _instants(self.time), "probability": self.probability, "x": self.probability}
        observations.record(MODEL, RecordKind.PREDICTIONS, pa.table(rows).filter(known))
        came = pa.array(self.time + self.delay <= now)
        at = np.where(np.isfinite(self.delay), self.time + self.delay, 0.0)
        labels = pa.table({"id": ids, "time": _instants(at), "label": np.where(self.y > 0, "yes", "no")})
        observations.record(MODEL, RecordKind.LABELS, labels.filter(came))
        observations.drain(MODEL, 10**8)
        return observations

    def within(self, window: Window) -> "Requests":
        part = slice(*np.searchsorted(self.time, [window.start, window.end]))
        return Requests(self.time[part], self.y[part], self.probability[part], self.delay[part])


def requests_of(
    rng: np.random.Generator, days: int, a_day: int, weekly: bool = False, slower: float = 8.0, mean_h: float = 6.0
) -> Requests:
    """`weekly` requests come a third as often on two days of seven; labels of outcome 1 take `slower` times as long."""
    time = request_times(days * a_day, a_day)
    if weekly:
        time = time[((time // DAY_S) % 7 < 5) | (rng.random(len(time)) < 1 / 3)]
    y = (rng.random(len(time)) < 0.2).astype(np.float64)
    is_right = rng.random(len(time)) < np.where(y > 0, 0.5, 0.9)
    sure = rng.uniform(0.5, 0.95, len(time))
    probability = np.where(is_right == (y > 0), sure, 1 - sure)
    delay = label_delays(rng, y, mean_h * HOUR_S, slower)
    delay[rng.random(len(time)) < 0.2] = np.inf
    return Requests(time, y, probability, delay)


def history_at(requests: Requests, now: float, spec: ModelSpec = SPEC) -> LabelHistory:
    """The history that the monitor counts of what is recorded at `now`, as it does the first time."""
    source = LabelSource(spec, SCHEMA, requests.y, MONITORING.window_s, requests.recorded(now))
    return count_due_cohorts(LabelHistory(), source, now)


@dataclass(frozen=True)
class YoungWindow:
    """A window of a day that has just closed: its accuracy without and with the correction, and with all labels."""

    naive: Interval
    corrected: Interval
    complete: float
    share: float
    true_share: float


def young_windows(
    seed: int, weekly: bool = False, slower: float = 8.0, age_h: float = 0.0, spread: float = 0.0, count: int = 10
) -> list[YoungWindow]:
    """So many windows that could be the last day of one history, `age_h` hours after they have closed.

    With a `spread`, the delays of each day have a common factor, lognormal. Without a curve there is no correction, and
    none of the windows counts.
    """
    rng, end = np.random.default_rng([seed, 14]), 41 * DAY_S
    now, window = end + age_h * HOUR_S, Window(end - DAY_S, end)
    past = requests_of(rng, 41, 600, weekly, slower)
    past = replace(past, delay=past.delay * np.exp(spread * day_effects(rng, past.time)))
    history = history_at(past, now)
    curve, _ = maturity_of(history, SPEC, MONITORING)
    windows: list[YoungWindow] = []
    if curve is None:
        return windows
    for _ in range(count):
        day = requests_of(rng, 1, 600, False, slower)
        part = rng.random(len(day.time)) < (1 / 3 if weekly else 1.0)  # a day of the weekend
        time = day.time[part] + window.start
        delay = day.delay[part] * np.exp(spread * rng.standard_normal())
        requests = Requests(time, day.y[part], day.probability[part], delay)
        windows.append(_young_window(requests, window, curve, now))
    return windows


def _young_window(requests: Requests, window: Window, curve: MaturityCurve, now: float) -> YoungWindow:
    rows, _ = observe_window(requests.recorded(now), MODEL, SCHEMA, window)
    weighted, maturity = weigh_rows(rows, curve, (), now)
    (naive,), (corrected,) = metric_values(rows, (ACCURACY,)), corrected_metric_values(weighted, (ACCURACY,))
    came = requests.time + requests.delay <= now
    assert naive.interval is not None
    assert corrected.interval is not None
    assert maturity.share is not None
    return YoungWindow(
        naive.interval,
        corrected.interval,
        ACCURACY.score(requests.y, requests.probability),
        maturity.share,
        float(came.sum() / np.isfinite(requests.delay).sum()),
    )


def _windows_of(runs: int, weekly: bool, slower: float, spread: float) -> list[YoungWindow]:
    return [window for seed in range(runs) for window in young_windows(seed, weekly, slower, spread=spread)]


def naive_bias(runs: int, weekly: bool = False, slower: float = 8.0, spread: float = 0.0) -> float:
    """Points of accuracy by which the metric of the labels that came is off."""
    windows = _windows_of(runs, weekly, slower, spread)
    return 100 * float(np.mean([each.naive.estimate - each.complete for each in windows]))


def corrected_bias(runs: int, weekly: bool = False, slower: float = 8.0, spread: float = 0.0) -> float:
    """Points of accuracy by which the corrected metric is off."""
    windows = _windows_of(runs, weekly, slower, spread)
    return 100 * float(np.mean([each.corrected.estimate - each.complete for each in windows]))


def missed_intervals(runs: int, weekly: bool = False, slower: float = 8.0, spread: float = 0.0) -> float:
    """The share of corrected intervals, at .95, that do not hold the true accuracy."""
    intervals = [each.corrected for each in _windows_of(runs, weekly, slower, spread)]
    return float(np.mean([not each.low <= TRUE_ACCURACY <= each.high for each in intervals]))


class RecordedRequests:
    """The rows of a simulation as the `Observations` port answers them at `now`."""

    def __init__(self, requests: Requests) -> None:
        self._requests, self.now = requests, 0.0
        ids = np.arange(len(requests.time)).astype(str)
        self._predictions = pa.table({"id": ids, "time": _instants(requests.time)})
        came = np.flatnonzero(np.isfinite(requests.delay))
        came = came[np.argsort(requests.time[came] + requests.delay[came])]
        self._came_at = requests.time[came] + requests.delay[came]
        names = np.where(requests.y[came] > 0, "yes", "no")
        self._labels = pa.table({"id": ids[came], "time": _instants(self._came_at), "label": names})

    def predictions(self, model_id: str, start: float, end: float) -> list[pa.Table]:
        first, last = np.searchsorted(self._requests.time, [start, end])
        return [self._predictions.slice(first, last - first)]

    def labels(self, model_id: str, since: float) -> list[pa.Table]:
        first, last = np.searchsorted(self._came_at, [since, self.now])
        return [self._labels.slice(first, last - first)]


def alarm_days(requests: Requests, first_day: int, days: int) -> list[int]:
    """The days, from the first one on, on which the monitor finds the labels slow; it counts them every day."""
    observations, history = RecordedRequests(requests), LabelHistory()
    source = LabelSource(SPEC, SCHEMA, requests.y, MONITORING.window_s, cast("Observations", observations))
    alarms = []
    for day in range(1, first_day + days):
        observations.now = day * DAY_S + 60.0
        history = count_due_cohorts(history, source, observations.now)
        if day >= first_day:
            _, maturity = maturity_of(history, SPEC, MONITORING)
            if maturity is not None and maturity.slowing is not None and maturity.slowing.is_detected:
                alarms.append(day - first_day)
    return alarms


def false_alarm_rate(runs: int, weekly: bool = False, spread: float = 0.0, phi: float = 0.0) -> float:
    """False alerts in 90 days, where one is asked for: an alert is open as long as it is found again the next day.

    With a `spread`, the delays of a day have a common factor, lognormal, with memory `phi` from day to day.
    """
    alarms, days = 0, 120
    for seed in range(runs):
        rng = np.random.default_rng([seed, 15])
        requests = requests_of(rng, 40 + days, 300, weekly)
        factor = np.exp(spread * day_effects(rng, requests.time, phi))
        found = alarm_days(replace(requests, delay=requests.delay * factor), 40, days)
        alarms += len(set(found) - {day + 1 for day in found})
    return alarms / (runs * days) * 90


def days_to_slowing(runs: int, times: float = 2.0, a_day: int = 300, spread: float = 0.0) -> float:
    """The median number of days until an alarm, once delays have become `times` as long; infinite after 30 days."""
    delays = []
    for seed in range(runs):
        rng = np.random.default_rng([seed, 16])
        requests = requests_of(rng, 75, a_day)
        factor = np.exp(spread * day_effects(rng, requests.time)) * np.where(requests.time >= 45 * DAY_S, times, 1.0)
        delays.append(min(alarm_days(replace(requests, delay=requests.delay * factor), 45, 30), default=np.inf))
    return float(np.median(delays))


def _instants(seconds: Vector) -> pa.Array:
    return pa.array(np.round(seconds * 1e6).astype(np.int64)).cast(pa.timestamp("us", "UTC"))


CASES = [
    Case(
        "labels-bias",
        "late labels",
        "closed just now, outcome 1 later",
        "points of accuracy",
        "-.5 to .5",
        60,
        corrected_bias,
        "5.4",
    ),
    Case(
        "labels-bias-weekly",
        "late labels",
        "weekend, a third of the rows",
        "points of accuracy",
        "-.5 to .5",
        100,
        partial(corrected_bias, weekly=True),
        "5.2",
    ),
    Case(
        "labels-bias-days",
        "late labels",
        "delays with day effects",
        "points of accuracy",
        "-.5 to .5",
        60,
        partial(corrected_bias, spread=0.3),
        "5.4",
    ),
    Case(
        "labels-bias-alike",
        "late labels",
        "outcomes alike",
        "points of accuracy",
        "-.5 to .5",
        30,
        partial(corrected_bias, slower=1.0),
        "0",
    ),
    Case(
        "labels-missed",
        "late labels",
        "closed just now, outcome 1 later",
        "intervals that miss",
        "<= .05",
        60,
        missed_intervals,
        ".77",
    ),
    Case(
        "labels-missed-days",
        "late labels",
        "delays with day effects",
        "intervals that miss",
        "<= .05",
        60,
        partial(missed_intervals, spread=0.3),
        ".75",
    ),
    Case("labels-slow-false", "slowing labels", "independent", "false alerts in 90 d", "<= 1", 6, false_alarm_rate),
    Case(
        "labels-slow-false-days",
        "slowing labels",
        "weekly, day effects AR .7",
        "false alerts in 90 d",
        "<= 1",
        6,
        partial(false_alarm_rate, weekly=True, spread=0.3, phi=0.7),
    ),
    Case("labels-slow-2x", "slowing labels", "doubled, 300 a day", "median days", "", 5, days_to_slowing),
    Case(
        "labels-slow-2x-50",
        "slowing labels",
        "doubled, 50 a day",
        "median days",
        "",
        5,
        partial(days_to_slowing, a_day=50),
    ),
    Case(
        "labels-slow-1.5x",
        "slowing labels",
        "1.5 times, 300 a day",
        "median days",
        "",
        5,
        partial(days_to_slowing, times=1.5),
    ),
]
