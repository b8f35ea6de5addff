from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.domain.alert import Alert, AlertKind, Finding, Severity
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring, Window
from optagent.domain.quality import DataQuality
from optagent.errors import InvalidData, OptAgentError, Unavailable
from optagent.loop.observe.monitor import MonitorPass, due_windows, watch_once
from optagent.ports import RecordKind

HOUR, DAY = 3600.0, 86_400.0
START = 19_700 * DAY
MONITORING = Monitoring(alert_cooldown_minutes=60)
SPEC = ModelSpec("churn", Task.BINARY, FileSource("rows.parquet"), "target")
LATE = replace(SPEC, time_column="day", label_horizon="36h")
DROP = Finding(AlertKind.PERFORMANCE, Severity.WARNING, "auc fell", {"drop": 0.06})
DRIFT = Finding(AlertKind.DATA_DRIFT, Severity.INFO, "amount drifted")
LABELLED, UNLABELLED, EMPTY = DataQuality(10, 10), DataQuality(10), DataQuality()


class World:
    """A model on a clock; `findings` are the findings of a day, `quality` its rows. Days count from START."""

    def __init__(self, spec: ModelSpec = SPEC) -> None:
        self.spec = spec
        self.clock = ManualClock(START)
        self.store = InMemoryStore(self.clock)
        self.observations = InMemoryObservations()
        self.findings: Mapping[int, list[Finding]] = {}
        self.quality: Mapping[int, DataQuality] = {}
        self.looked_at: list[int] = []
        self.failure: Exception | None = None

    def record(self, *days: float) -> None:
        times = pa.array([round((START + day * DAY) * 1e6) for day in days]).cast(pa.timestamp("us", "UTC"))
        rows = pa.table({"id": [str(day) for day in days], "time": times})
        self.observations.record("churn", RecordKind.PREDICTIONS, rows)

    async def watch(self, day: float) -> MonitorPass:
        self.clock = ManualClock(START + day * DAY)
        return await watch_once(self.spec, self._analyze, self.observations, self.store, MONITORING, self.clock.now())

    async def open_kinds(self) -> list[AlertKind]:
        return sorted(alert.kind for alert in await self.store.alerts("churn") if alert.is_open)

    async def _analyze(self, window: Window) -> ModelReport:
        if self.failure is not None:
            raise self.failure
        day = round((window.start - START) / DAY)
        assert window == day_window(day)
        self.looked_at.append(day)
        findings = tuple(self.findings.get(day, ()))
        return ModelReport("churn", window=window, findings=findings, quality=self.quality.get(day, LABELLED))


def day_window(day: int) -> Window:
    return Window(START + day * DAY, START + (day + 1) * DAY)


def kinds(alerts: tuple[Alert, ...]) -> list[AlertKind]:
    return [alert.kind for alert in alerts]


async def test_without_predictions_there_is_nothing_to_look_at():
    world = World()
    assert await world.watch(5) == MonitorPass("churn")


async def test_a_window_without_findings_leaves_the_alert_of_a_mixture_open():
    world = World()
    world.record(0.5)
    await world.store.save_alerts([Alert("m", "churn", AlertKind.MIXTURE, Severity.WARNING, "waits", {}, START, START)])
    await world.watch(1.1)
    assert await world.open_kinds() == [AlertKind.MIXTURE]


async def test_what_waits_is_archived_before_a_window_is_looked_at():
    world = World()
    world.record(0.5, 0.6)
    watched = await world.watch(1.1)
    assert (watched.drained, world.observations.backlog("churn")) == (2, 0)
    assert [report.window for report in watched.reports] == [day_window(0)]


async def test_a_window_is_looked_at_once_it_has_closed_and_not_again():
    world = World()
    world.record(0.5)
    for day in (0.5, 0.99, 1.0, 1.1, 1.9):
        await world.watch(day)
    assert world.looked_at == [0]
    world.record(1.5)
    await world.watch(2.0)
    assert world.looked_at == [0, 1]


async def test_after_a_pause_the_latest_window_with_rows_is_looked_at():
    world = World()
    world.record(0.5, 1.5)
    await world.watch(9.3)
    assert world.looked_at == [1]
    await world.watch(10.3)
    assert world.looked_at == [1]


async def test_a_window_that_closed_while_nobody_looked_is_found_behind_an_empty_one():
    world = World()
    world.record(0.5, 3.2)
    await world.watch(3.3)
    assert world.looked_at == [0]


async def test_a_window_behind_an_empty_one_is_not_looked_at_twice():
    world = World()
    world.record(0.5)
    await world.watch(1.1)
    world.record(3.2)
    await world.watch(3.3)
    assert world.looked_at == [0]


async def test_rows_that_come_a_day_late_are_looked_at():
    world = World()
    world.record(0.5)
    await world.watch(1.1)
    await world.watch(2.1)
    world.record(1.5)
    await world.watch(2.2)
    assert world.looked_at == [0, 1]


async def test_predictions_from_the_future_hide_nothing():
    world = World()
    world.record(0.5, 400.0)
    await world.watch(1.1)
    assert world.looked_at == [0]


async def test_each_analyzed_window_is_a_point_of_the_models_quality():
    world = World()
    world.record(0.5, 1.5)
    world.findings = {1: [DROP]}
    await world.watch(1.1)
    await world.watch(2.1)
    points = (await world.store.quality(["churn"]))["churn"]
    assert [(point.window, point.metric, point.rows) for point in points] == [
        (day_window(0), "auc", 10),
        (day_window(1), "auc", 10),
    ]
    assert points[1].findings == ("performance",)


async def test_findings_become_alerts_and_someone_is_told_once():
    world = World()
    world.record(0.5)
    world.findings = {0: [DROP, DRIFT]}
    watched = await world.watch(1.1)
    assert kinds(watched.alerts) == kinds(watched.notify) == [DROP.kind, DRIFT.kind]
    assert await world.store.alerts("churn") == sorted(watched.alerts, key=lambda alert: alert.alert_id)
    assert (await world.watch(1.2)).notify == ()


async def test_what_is_no_longer_found_is_resolved():
    world = World()
    world.record(0.5, 1.5)
    world.findings = {0: [DROP]}
    await world.watch(1.1)
    watched = await world.watch(2.1)
    assert [alert.resolved_at for alert in watched.alerts] == [START + 2.1 * DAY]
    assert await world.open_kinds() == []


async def test_a_window_without_rows_resolves_nothing():
    world = World()
    world.record(0.5, 2.5)
    world.findings = {0: [DROP, DRIFT]}
    await world.watch(1.1)
    watched = await world.watch(2.1)
    assert watched == MonitorPass("churn")
    assert await world.open_kinds() == [DRIFT.kind, DROP.kind]


async def test_a_window_of_unusable_rows_resolves_nothing():
    world = World()
    world.record(0.5, 1.5)
    world.findings, world.quality = {0: [DROP, DRIFT]}, {1: EMPTY}
    await world.watch(1.1)
    assert (await world.watch(2.1)).alerts == ()
    assert world.looked_at == [0, 1]
    assert await world.open_kinds() == [DRIFT.kind, DROP.kind]


async def test_a_window_without_labels_does_not_resolve_what_needs_labels():
    world = World()
    world.record(0.5, 1.5)
    world.findings, world.quality = {0: [DROP, DRIFT]}, {1: UNLABELLED}
    await world.watch(1.1)
    await world.watch(2.1)
    assert await world.open_kinds() == [DROP.kind]


async def test_a_window_is_looked_at_again_when_its_labels_have_come():
    """Labels come 36 hours late: those of day 0 are there on day 2.5."""
    world = World(LATE)
    world.record(0.5, 1.5, 2.5)
    await world.watch(1.1)
    assert world.looked_at == [0]
    await world.watch(2.1)
    assert world.looked_at == [0, 1]
    world.findings, world.quality = {0: [DROP], 1: [DRIFT]}, {1: UNLABELLED}
    watched = await world.watch(2.6)
    assert world.looked_at[-2:] == [1, 0]
    assert kinds(watched.notify) == [DROP.kind, DRIFT.kind]


async def test_old_drift_is_not_found_again_with_late_labels():
    world = World(LATE)
    world.record(0.5, 1.5)
    world.findings, world.quality = {0: [DRIFT, DROP]}, {1: UNLABELLED}
    watched = await world.watch(2.6)
    assert kinds(watched.alerts) == [DROP.kind]


async def test_a_look_that_is_cut_short_is_taken_again_and_opens_no_second_alert():
    world = World()
    world.record(0.5)
    world.findings = {0: [DROP]}

    class Forgetful(InMemoryStore):
        async def save_watch_mark(self, *_: Any) -> None:
            raise Unavailable("Redis went away")

    whole = world.store
    world.store = Forgetful(world.clock)
    watched = await world.watch(1.1)
    assert (watched.error, kinds(watched.notify)) == ("Redis went away", [DROP.kind])
    await whole.save_alerts(await world.store.alerts())
    world.store = whole
    watched = await world.watch(1.11)
    assert world.looked_at == [0, 0]
    assert (watched.error, watched.notify) == (None, ())
    assert len(await world.store.alerts("churn")) == 1


@pytest.mark.parametrize("failure", [Unavailable("Redis is away"), InvalidData("no columns"), OptAgentError("x")])
async def test_a_failing_analysis_is_an_answer_and_the_window_is_looked_at_the_next_time(failure):
    world = World()
    world.record(0.5)
    world.failure = failure
    watched = await world.watch(1.1)
    assert (watched.error, watched.drained, watched.alerts) == (str(failure), 1, ())
    world.failure = None
    await world.watch(1.2)
    assert world.looked_at == [0]


async def test_a_report_of_an_error_is_a_failure_that_resolves_nothing():
    world = World()
    world.record(0.5, 1.5)
    world.findings = {0: [DROP]}
    await world.watch(1.1)

    async def refused(window: Window) -> ModelReport:
        return ModelReport("churn", error="no reference")

    watched = await watch_once(SPEC, refused, world.observations, world.store, MONITORING, START + 2.1 * DAY)
    assert watched.error == "no reference"
    assert await world.open_kinds() == [DROP.kind]


async def test_a_queue_that_is_away_is_an_answer():
    class Away(InMemoryObservations):
        def drain(self, model_id: str, most: int = 1_000_000) -> int:
            raise Unavailable("Redis is away")

    world = World()
    world.observations = Away()
    assert await world.watch(1.1) == MonitorPass("churn", error="Redis is away")


def test_windows_are_aligned_whatever_their_length_and_the_time():
    monitoring = Monitoring(performance_window_hours=1)
    assert due_windows(SPEC, monitoring, newest=START + 5 * HOUR + 1, now=START + 5 * HOUR + 59) == (
        Window(START + 4 * HOUR, START + 5 * HOUR),
    )


def test_a_horizon_that_is_no_duration_says_nothing_about_labels():
    spec = replace(SPEC, rows_in_time_order=True, label_horizon=5)
    assert due_windows(spec, MONITORING, newest=START + 9.5 * DAY, now=START + 9.6 * DAY) == (day_window(8),)
