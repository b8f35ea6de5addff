"""The ages of labels are counted cohort by cohort, again when the age has doubled, and stored by the monitor alone."""

from dataclasses import replace

import numpy as np
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.analysis.label_maturity import bin_end, maturity_curve
from optagent.domain.dataset import FileSource
from optagent.domain.label_maturity import LabelHistory
from optagent.domain.model import ModelSpec, Task
from optagent.loop.observe.label_history import (
    LabelSource,
    awaited_delay,
    count_due_cohorts,
    due_starts,
    refresh_label_history,
)
from optagent.loop.observe.record import checked_labels, checked_predictions
from optagent.ports import RecordKind
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema

DAY, HOUR, START = 86_400.0, 3600.0, 19_700 * 86_400.0
SPEC = ModelSpec("churn", Task.BINARY, FileSource("rows.parquet"), "churned")
SCHEMA = Schema((FeatureColumn("age", Kind.NUMERIC),), "churned", Task.BINARY, ("no", "yes"))


class World:
    """Ten requests a day, one in five of them "yes"; each label comes `delay_s` after its request."""

    def __init__(self, days: int = 20, delay_s: float = HOUR) -> None:
        self.observations = InMemoryObservations()
        number = np.arange(days * 10)
        self.ids = [f"r{index}" for index in number]
        self.times = START + number * DAY / 10 + 60
        self.labels = np.where(number % 5 == 0, "yes", "no")
        self.delay_s = delay_s
        rows = [{"id": name, "time": at, "prediction": "no"} for name, at in zip(self.ids, self.times, strict=True)]
        self.observations.record("churn", RecordKind.PREDICTIONS, checked_predictions(rows, SPEC, 0.0))
        self.told = 0
        self.source = LabelSource(SPEC, SCHEMA, np.array([0.0, 1.0]), DAY, self.observations)

    def hear(self, now: float, stamped: float | None = None) -> None:
        """Records the labels that have come by `now`, with the time `stamped` where one is given."""
        last = int(np.searchsorted(self.times + self.delay_s, now))
        rows = [
            {"id": self.ids[index], "label": self.labels[index], "time": stamped or self.times[index] + self.delay_s}
            for index in range(self.told, last)
        ]
        self.told = max(self.told, last)
        if rows:
            self.observations.record("churn", RecordKind.LABELS, checked_labels(rows, SPEC, now))
        self.observations.drain("churn")

    def counted(self, now: float, history: LabelHistory | None = None) -> LabelHistory:
        return count_due_cohorts(history or LabelHistory(), self.source, now)


def test_labels_are_counted_by_outcome_and_age():
    world = World(delay_s=HOUR)
    world.hear(START + 10 * DAY)
    (cohort, *_) = [one for one in world.counted(START + 10 * DAY).cohorts if one.rows]

    assert (cohort.start, cohort.rows, cohort.labels) == (START, 10, 10)
    (no,), (yes,) = (list(by_bin.items()) for by_bin in cohort.counts)
    assert bin_end(no[0] - 1) <= HOUR < bin_end(no[0])
    assert (no[1], yes[1]) == (8, 2)


def test_the_first_label_of_a_request_counts():
    world = World(delay_s=HOUR)
    world.hear(START + 10 * DAY)
    again = [{"id": "r0", "label": "no", "time": START + 3 * DAY}]
    world.observations.record("churn", RecordKind.LABELS, checked_labels(again, SPEC, 0.0))
    world.observations.drain("churn")
    (cohort, *_) = [one for one in world.counted(START + 10 * DAY).cohorts if one.rows]

    assert [sum(by_bin.values()) for by_bin in cohort.counts] == [9, 1]  # the outcome is that of the latest label
    assert len(cohort.counts[0]) == 1


def test_labels_later_than_the_youngest_request_is_old_are_left_out():
    world = World(delay_s=1.5 * DAY)
    world.hear(START + 10 * DAY)
    cohorts = [one for one in world.counted(START + 10 * DAY).cohorts if one.rows]

    assert [one.labels for one in cohorts] == [10] * 8 + [0]


def test_a_cohort_is_counted_again_once_its_age_has_doubled():
    history = World().counted(START + 5 * DAY)
    ages = [
        [round((now - start) / DAY) - 1 for start in due_starts(history, 0.0, now) if start >= START]
        for now in (START + 5 * DAY + 60, START + 6 * DAY + 60)
    ]

    assert ages == [[], [1, 2]]


def test_a_running_count_gives_the_curve_that_one_at_the_end_gives():
    world, history = World(80, delay_s=1.5 * DAY), LabelHistory()
    for day in range(2, 60):
        world.hear(START + day * DAY + 60)
        history = world.counted(START + day * DAY + 60, history)
    running, once = (maturity_curve(one, 0.0) for one in (history, world.counted(START + 59 * DAY + 60)))

    assert running.age_of(0.99) == once.age_of(0.99) == pytest.approx(1.5 * DAY, rel=0.05)
    assert len(history.cohorts) <= 64


def test_labels_stamped_earlier_than_they_came_are_counted_as_such():
    world, history = World(40, delay_s=4 * DAY), LabelHistory()
    for day in range(2, 30):
        world.hear(START + day * DAY, stamped=START + 60)
        history = world.counted(START + day * DAY + 60, history)

    assert "record the time at which a label came" in maturity_curve(history, 0.0)


def test_another_length_or_other_classes_begin_anew():
    world = World()
    world.hear(START + 10 * DAY)
    history = world.counted(START + 10 * DAY)
    hourly = count_due_cohorts(history, replace(world.source, window_s=HOUR), START + 10 * DAY)
    renamed = replace(world.source, schema=replace(SCHEMA, classes=("no", "perhaps")))

    assert {one.length_s for one in (history, hourly)} == {DAY, HOUR}
    assert count_due_cohorts(history, renamed, START + 10 * DAY).outcomes == ("no", "perhaps")


def test_a_long_label_delay_makes_longer_cohorts():
    spec = replace(SPEC, time_column="on", label_horizon="60d")
    history = count_due_cohorts(LabelHistory(), replace(World().source, spec=spec), START + 400 * DAY)

    assert history.length_s == 4 * DAY


async def test_the_monitor_alone_stores_the_history():
    world, store = World(), InMemoryStore(ManualClock(START))
    world.hear(START + 20 * DAY)
    now = START + 20 * DAY
    history = await refresh_label_history(world.source, store, now, saves=False)
    assert (len(history.cohorts), await store.label_history("churn")) == (32, LabelHistory())

    await refresh_label_history(world.source, store, now, saves=True)
    assert await store.label_history("churn") == history
    assert await awaited_delay(SPEC, store) == pytest.approx(HOUR, rel=0.05)
    assert await awaited_delay(SPEC, InMemoryStore(ManualClock(START))) == 0.0
