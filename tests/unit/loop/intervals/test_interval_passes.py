"""Passes over intervals: each labelled row is learned once, by the thresholds that answered it."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.prediction_interval import LEVELS
from optagent.errors import Conflict, Unavailable
from optagent.loop.intervals import scored_rows
from optagent.loop.observe.reference import encode_reference
from optagent.loop.rollout.supervise import supervise
from tests.unit.loop.intervals.conftest import SPEC, START, holdout

DAY = 86_400.0


async def test_a_champion_starts_from_its_own_holdout(world):
    await world.begin()
    scores = np.sort(np.abs(holdout(1.0).observed.y))
    assert await world.threshold() == pytest.approx(scores[int(np.ceil(301 * 0.9)) - 1])
    world.registry.champion = "2"
    await world.supervise()
    await world.supervise()
    assert await world.threshold() == pytest.approx(5 * scores[int(np.ceil(301 * 0.9)) - 1])


async def test_a_model_without_intervals_costs_no_read_and_has_none(world):
    world.spec = replace(SPEC, intervals=False)
    await world.begin()
    assert (await world.table()).intervals is None
    assert await world.store.intervals("rent") is None


async def test_intervals_that_are_turned_off_leave_the_table(world):
    await world.begin()
    await world.store.replace_model(replace(SPEC, intervals=False), SPEC)
    await world.supervise()
    await world.supervise()
    assert (await world.table()).intervals is None


async def test_each_labelled_row_is_learned_once(world):
    await world.begin()
    world.tell(world.answer(50))
    for _ in range(5):
        assert (await world.supervise()).errors == {}
    assert await world.learned() == 50
    counts = list((await world.record()).covered.values())
    assert sum(day[0] for day in counts) == 50


async def test_rows_wait_for_their_labels_whatever_the_order(world):
    await world.begin()
    first, second = world.answer(40), world.answer(40)
    world.tell(second)
    await world.supervise(DAY / 2)
    assert await world.learned() == 40
    world.tell(first)
    await world.supervise()
    assert await world.learned() == 80
    await world.supervise(DAY)
    assert (await world.record()).known == "", "what no pass reads any more is not kept"


async def test_a_row_is_given_up_a_day_after_its_label_was_due(world):
    await world.begin()
    labels = world.answer(40)
    await world.supervise(2 * DAY + 60)
    world.tell(labels)
    await world.supervise()
    assert await world.learned() == 0


async def test_wider_errors_widen_the_intervals_and_the_table_follows(world):
    await world.begin()
    before = await world.threshold()
    for _ in range(20):
        world.tell(world.answer(30, scale=4.0))
        await world.supervise()
    assert await world.threshold() > 2 * before
    await world.supervise()
    revision = (await world.table()).revision
    await world.supervise()
    await world.supervise()
    assert (await world.table()).revision == revision, "a table is replaced only where a threshold moved"


async def test_rows_are_judged_by_the_thresholds_that_answered_them(world):
    await world.begin()
    labels = world.answer(100, scale=3.0)
    narrow = await world.threshold()
    for _ in range(20):
        world.tell(world.answer(30, scale=3.0))
        await world.supervise()
    before = np.sum(list((await world.record()).covered.values()), axis=0)
    world.tell(labels)
    await world.supervise()
    after = np.sum(list((await world.record()).covered.values()), axis=0)
    covered = sum(abs(label - 100.0) <= narrow for label in labels.values())
    assert (after - before)[[0, 1 + LEVELS.index(0.9)]].tolist() == [100, covered]


async def test_a_restarted_supervisor_keeps_the_thresholds_of_the_table(world):
    await world.begin()
    before = await world.table()
    world.context = world.new_context()
    await world.supervise(1.0)
    assert await world.table() == before


async def test_where_the_store_is_away_the_thresholds_go_on(world, monkeypatch):
    await world.begin()
    before = (await world.table()).intervals

    async def be_away(model_id: str) -> None:
        raise Unavailable("Redis does not answer")

    monkeypatch.setattr(world.store, "intervals", be_away)
    assert "does not answer" in (await world.supervise()).errors["rent"]
    await world.supervise()
    assert (await world.table()).intervals == before


async def test_a_holdout_that_is_too_small_is_named_and_the_champion_answers(world):
    world.observations.save_reference("rent", "1", encode_reference(holdout(1.0, rows=99)))
    await world.store.save_model(world.spec)
    assert "at least 100 labelled rows" in (await world.supervise()).errors["rent"]
    await world.supervise()
    assert (await world.table()).champion == "1"
    assert (await world.table()).intervals is None


async def test_while_labels_are_at_fault_nothing_is_learned_and_afterwards_all_is(world):
    await world.begin()
    fault = Alert("a", "rent", AlertKind.LABELS, Severity.WARNING, "wrong unit", {}, START, START)
    await world.store.save_alerts([fault])
    world.tell(world.answer(50))
    await world.supervise()
    assert await world.learned() == 0
    assert "wrong unit" in (await world.record()).waits_for
    await world.store.save_alerts([replace(fault, resolved_at=world.clock.now())])
    await world.supervise()
    assert (await world.learned(), (await world.record()).waits_for) == (50, "")


async def test_of_two_passes_at_once_one_learns(world):
    await world.begin()
    world.tell(world.answer(50))
    world.clock.advance(300.0)
    contexts = [world.new_context() for _ in range(2)]
    await asyncio.gather(*(supervise(context) for context in contexts))
    assert await world.learned() == 50


async def test_of_too_many_rows_the_same_ones_are_followed(world, monkeypatch):
    monkeypatch.setattr(scored_rows, "MOST_ROWS", 100)
    await world.begin()
    world.tell(world.answer(400))
    for _ in range(3):
        await world.supervise()
    assert await world.learned() == 100


async def test_a_week_of_too_low_coverage_alarms_and_better_days_end_it(world):
    await world.begin()
    record = await world.record()
    bad = {str(day): (200, 80, 130, 150, 170, 190) for day in range(7)}
    await world.store.save_intervals(replace(record, covered=bad), record)
    await world.supervise()
    [alert] = [alert for alert in await world.store.alerts("rent") if alert.kind is AlertKind.INTERVALS]
    assert alert.is_open
    assert "covered 75.0% of the 1,400 outcomes" in alert.message
    record = await world.record()
    good = {str(day): (200, 100, 160, 182, 190, 199) for day in range(7, 14)}
    await world.store.save_intervals(replace(record, covered={**bad, **good}), record)
    await world.supervise()
    [alert] = [alert for alert in await world.store.alerts("rent") if alert.kind is AlertKind.INTERVALS]
    assert not alert.is_open


async def test_an_alert_that_says_the_same_is_not_stored_at_each_pass(world):
    await world.begin()
    record = await world.record()
    bad = {str(day): (200, 80, 130, 150, 170, 190) for day in range(7)}
    await world.store.save_intervals(replace(record, covered=bad), record)
    await world.supervise()
    opened_at = world.clock.now()
    for _ in range(3):
        await world.supervise(300.0)
        [alert] = await world.store.alerts("rent")
        assert alert.last_seen == opened_at
    await world.supervise(3_600.0)
    [alert] = await world.store.alerts("rent")
    assert alert.last_seen == world.clock.now()


async def test_a_journal_that_changed_meanwhile_is_not_overwritten(world):
    await world.begin()
    record = await world.record()
    await world.store.save_intervals(replace(record, looked_at=1.0), record)
    with pytest.raises(Conflict, match=r"intervals of 'rent' were changed"):
        await world.store.save_intervals(replace(record, looked_at=2.0), record)
