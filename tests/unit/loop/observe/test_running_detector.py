"""The running detector over recorded rows: each once, in the order of requests, when its label is due."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.codec import decode
from optagent.domain.command import AnalyzeModel
from optagent.domain.concept_drift import DriftState
from optagent.domain.monitoring import Monitoring, Window
from optagent.domain.quality import DataQuality
from optagent.loop.observe.inputs import AnalysisInputs
from optagent.loop.observe.running_detector import DetectorState, run_detector, standing_alarm
from optagent.ports import RecordKind
from tests.simulation.quiet_year import SPEC, Stream, answered_rows, reference_of

DAY = 86_400.0
REFERENCE_DAYS, ROWS_A_DAY = 60, 40
REFERENCE = reference_of(
    (ROWS := Stream(ROWS_A_DAY, REFERENCE_DAYS, 120).rows(3)).where(ROWS.time < REFERENCE_DAYS * DAY)
)


@dataclass
class World:
    """Recorded rows of `SPEC`, whose labels come after a day; `worse` labels are flipped from that day on."""

    reference: object = REFERENCE
    spec: object = SPEC
    worse_from: float = np.inf
    store: InMemoryStore = field(default_factory=lambda: InMemoryStore(ManualClock(0.0)))
    observations: InMemoryObservations = field(default_factory=InMemoryObservations)
    runs: list = field(default_factory=list)

    def record(self, first: float, last: float, labelled: bool = True) -> None:
        inside = (ROWS.time >= (REFERENCE_DAYS + first) * DAY) & (ROWS.time < (REFERENCE_DAYS + last) * DAY)
        rows = ROWS.where(inside)
        ids = [f"{time:.3f}" for time in rows.time]
        times = pa.array(np.round(rows.time * 1e6).astype(np.int64)).cast(pa.timestamp("us", "UTC"))
        table = pa.table({"id": ids, "time": times, "probability": rows.prediction})
        self.observations.record("quiet", RecordKind.PREDICTIONS, table)
        if labelled:
            self.record_labels(ids, times, rows)
        self.observations.drain("quiet")

    def record_labels(self, ids, times, rows) -> None:
        flipped = (rows.time >= (REFERENCE_DAYS + self.worse_from) * DAY) & (np.arange(len(rows)) % 4 == 0)
        labels = np.where((rows.y > 0) ^ flipped, "yes", "no")
        table = pa.table({"id": ids, "time": times, "label": labels})
        self.observations.record("quiet", RecordKind.LABELS, table)

    async def look(self, day: float, detect=run_detector):
        now = (REFERENCE_DAYS + day) * DAY
        inputs = AnalysisInputs(
            AnalyzeModel("quiet", time_range=Window(now - DAY, now)),
            self.spec,
            Monitoring(),
            self.reference,
            None,
            Window(now - DAY, now),
            now,
            answered_rows(np.empty(0), np.empty(0), np.empty(0)),
            answered_rows(np.empty(0), np.empty(0), np.empty(0)),
            DataQuality(),
        )
        store = SimpleNamespace(
            detector=self.store.detector, save_detector=self.store.save_detector, process_summaries=self._summaries
        )
        return await detect(inputs, SimpleNamespace(store=store, require=lambda name: self.observations))

    async def _summaries(self, model_id, kind, since):
        return self.runs

    async def state(self) -> DetectorState:
        return decode(DetectorState, await self.store.detector("quiet"))

    def end_run(self, day: float) -> None:
        self.runs.append(SimpleNamespace(created_at=(REFERENCE_DAYS + day) * DAY, has_ended=True))


async def looks(world, first, last):
    verdict = None
    for day in range(first, last + 1):
        verdict = await world.look(day)
    return verdict


async def test_windows_of_forty_rows_add_up_to_an_alarm():
    world = World(worse_from=20)
    world.record(0, 60)
    quiet = await looks(world, 2, 20)
    assert (quiet.state, quiet.running) == (DriftState.NOT_DETECTED, True)

    verdict = await looks(world, 21, 40)

    assert verdict.is_detected
    assert verdict.changed_at == pytest.approx((REFERENCE_DAYS + 20) * DAY, abs=4 * DAY)
    assert verdict.excess.low > 0


async def test_each_row_counts_once_however_often_it_is_looked_at():
    world = World()
    world.record(0, 30)
    for day in (5, 5, 5.5, 5, 9, 9, 20):
        await world.look(day)

    state = await world.state()
    assert state.until == (REFERENCE_DAYS + 19) * DAY
    assert state.watch.detector.rows == (19 - 3) * ROWS_A_DAY  # from the window before the first look on


async def test_a_pause_of_the_monitor_loses_no_row():
    often, seldom = World(), World()
    for world in (often, seldom):
        world.record(0, 30)
        await world.look(3)
    await looks(often, 4, 25)
    await seldom.look(25)

    one, other = await often.state(), await seldom.state()
    assert other.watch.detector.log_m == pytest.approx(one.watch.detector.log_m)


async def test_labels_that_come_early_wait_until_they_are_due():
    world = World()
    world.record(0, 10)
    await world.look(5)

    assert (await world.state()).until == (REFERENCE_DAYS + 4) * DAY


async def test_a_label_after_its_time_counts_no_more():
    world = World()
    world.record(0, 6)
    world.record(6, 8, labelled=False)
    await looks(world, 3, 9)
    before = (await world.state()).watch.detector.rows
    world.record(6, 8)
    await world.look(9.5)

    assert (await world.state()).watch.detector.rows == before


async def test_without_a_label_horizon_rows_are_taken_up_to_the_newest_label():
    world = World(spec=replace(SPEC, time_column="", label_horizon=0))
    world.record(0, 6)
    world.record(6, 8, labelled=False)
    await looks(world, 3, 9)

    assert (await world.state()).until == pytest.approx((REFERENCE_DAYS + 6) * DAY, abs=DAY / ROWS_A_DAY)


async def test_an_alarm_stands_until_an_optimization_has_answered_it():
    world = World(worse_from=5)
    world.record(0, 60)
    raised = await looks(world, 2, 30)
    assert raised.is_detected
    assert (await world.look(31)).is_detected
    assert (await world.look(31, standing_alarm)).changed_at == raised.changed_at

    world.end_run(31)
    answered = await world.look(32)

    assert not answered.is_detected
    assert await world.look(32, standing_alarm) is None
    assert answered.rows <= ROWS_A_DAY


async def test_a_new_champion_begins_anew_where_the_old_one_ended():
    world = World(worse_from=5)
    world.record(0, 60)
    await looks(world, 2, 30)
    world.reference = replace(REFERENCE, digest="another")
    verdict = await world.look(31)

    assert not verdict.is_detected
    assert (await world.state()).watch.since >= (REFERENCE_DAYS + 29) * DAY


async def test_a_reference_of_four_days_learns_three_weeks_from_live_rows():
    world = World(reference=reference_of(ROWS.where(ROWS.time < 6 * DAY)))
    world.record(0, 60)
    learning = await looks(world, 2, 20)
    assert learning.state is DriftState.INSUFFICIENT
    assert "do not tell what a week looks like" in learning.reason

    verdict = await looks(world, 21, 40)

    assert verdict.reference_rows == 21 * ROWS_A_DAY
    assert "took its place" in verdict.caveat


async def test_a_state_of_another_version_begins_anew():
    world = World()
    world.record(0, 10)
    await world.store.save_detector("quiet", {"from": "the future"})

    assert (await world.look(5)).running
