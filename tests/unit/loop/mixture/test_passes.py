"""Passes over a mixture: each labelled row is learned once, and nothing that should not be."""

from dataclasses import replace

import numpy as np
import pytest

from optagent.domain.mixture import MixtureMode
from optagent.loop.mixture import answered_rows
from optagent.loop.mixture.acts import MixtureAct, change_mode, forget_rows
from optagent.loop.mixture.alerts import findings_of_mixture
from optagent.mixing.learner import MixtureLearner
from tests.unit.loop.mixture.conftest import POLICY, SPEC, START

DAY = 86_400.0


def act(world, why="sure"):
    return MixtureAct("churn", "ana", why, world.clock.now())


async def learn(world, rows=20):
    """Rows with their labels, and a pass that learns them."""
    ids = await world.answer(rows)
    await world.advance()
    return ids


async def test_a_pass_learns_each_labelled_row_once(world):
    await world.begin()
    await learn(world)
    for _ in range(20):
        await world.advance()
    assert await world.learned() == 20
    assert (await world.replay()).is_same


async def test_a_row_that_is_recorded_twice_is_learned_once_even_where_the_copy_came_later(world):
    await world.begin()
    ids = await learn(world)
    world.repeat(ids[0], 0.0)
    world.repeat(ids[1], 120.0)
    world.repeat(ids[2], 1_800.0)
    for _ in range(24):
        await world.advance(300.0)
    assert await world.learned() == 20
    assert (await world.replay()).is_same


async def test_an_id_that_comes_again_days_later_is_another_row_and_replays_as_two(world):
    await world.begin()
    ids = await learn(world)
    await world.advance(5 * DAY)
    world.repeat(ids[0], 5 * DAY)
    world.tell(ids[:1])
    for _ in range(3):
        await world.advance()
    assert await world.learned() == 21
    assert (await world.replay()).is_same


async def test_a_label_that_is_told_twice_or_corrected_later_changes_nothing_that_was_learned(world):
    await world.begin()
    ids = await learn(world)
    before = (await world.record()).state
    world.tell(ids)
    await world.advance()
    world.tell(ids, dict.fromkeys(ids, "no"))
    await world.advance()
    assert (await world.record()).state == before


async def test_labels_that_come_late_and_out_of_order_are_learned_when_they_come(world):
    await world.begin()
    early, late = await world.answer(label=False), await world.answer(label=False)
    world.tell(late[::-1])
    await world.advance()
    assert await world.learned() == 20
    world.tell(early)
    await world.advance(DAY)
    assert await world.learned() == 40
    assert (await world.replay()).is_same


async def test_a_label_before_its_row_is_learned_with_it(world):
    await world.begin()
    ids = await world.answer(label=False)
    world.labels["later"] = "yes"
    world.tell(["later"])
    await world.advance()
    world.repeat(ids[0], 0.0)
    assert await world.learned() == 0
    world.tell(ids)
    await world.advance()
    assert await world.learned() == 20


async def test_labels_of_one_time_that_contradict_are_not_learned_until_a_later_one_settles_it(world):
    await world.begin()
    ids = await world.answer(label=False)
    world.tell(ids, dict.fromkeys(ids, "yes"))
    world.tell(ids, dict.fromkeys(ids, "no"))
    await world.advance()
    assert await world.learned() == 0
    world.tell(ids, dict.fromkeys(ids, "no"))
    await world.advance()
    assert await world.learned() == 20


async def test_a_label_that_is_no_class_is_not_learned(world):
    await world.begin()
    ids = await world.answer(label=False)
    world.tell(ids, dict.fromkeys(ids, "maybe"))
    await world.advance()
    assert await world.learned() == 0


async def test_a_row_whose_label_never_comes_is_given_up_after_the_waiting_time(world):
    await world.begin()
    ids = await world.answer(label=False)
    for _ in range(4):
        await world.advance(DAY)
    world.tell(ids)
    await world.advance()
    assert await world.learned() == 0
    assert (await world.record()).open_since >= world.clock.now() - 3_601.0


async def test_rows_without_a_label_do_not_grow_the_work_of_a_pass(world, monkeypatch):
    monkeypatch.setattr(answered_rows, "MOST_ROWS", 50)
    await world.begin()
    read = []
    for _ in range(30):
        await world.answer(40, label=False)
        world.clock.advance(7_200.0)
        before = await world.record()
        world.observations.drain("churn")
        start = answered_rows.first_time(before, world.spec, world.clock.now())
        read.append(sum(table.num_rows for table in world.observations.predictions("churn", start, np.inf)))
        await world.advance()
        assert len(world.waiting_rows(await world.record())) <= 50
    assert max(read) <= 50 + 40
    assert (await world.record()).most_open <= 50


async def test_people_are_told_of_rows_that_are_given_up_since_too_many_wait(world, monkeypatch):
    monkeypatch.setattr(answered_rows, "MOST_ROWS", 50)
    await world.begin()
    await world.answer(90, label=False)
    await world.advance()
    record = await world.record()
    assert record.given_up == 40
    (finding,) = findings_of_mixture(record)
    assert "40 older ones are given up" in finding.message
    await world.advance(7_200.0)
    await world.advance()
    assert findings_of_mixture(await world.record()) == (), "the rows that are left fit into a pass"


async def test_one_row_that_waits_for_ever_does_not_make_every_pass_read_what_was_learned(world, monkeypatch):
    monkeypatch.setattr(answered_rows, "MOST_ROWS", 50)
    await world.begin()
    await world.answer(1, label=False)
    for _ in range(12):
        await world.answer()
        await world.advance(3_600.0)
    record = await world.record()
    rows = world.observations.predictions("churn", record.open_since, np.inf)
    assert sum(table.num_rows for table in rows) <= 50 + 20
    assert await world.learned() == 240


@pytest.mark.parametrize("jump", [400 * DAY, -400 * DAY, 2 * 3_600.0, -2 * 3_600.0])
async def test_a_clock_that_jumps_learns_nothing_twice_and_leaves_nothing_out(world, jump):
    await world.begin()
    await learn(world)
    waiting = await world.answer(label=False)
    await world.advance()
    await world.advance(jump)
    await world.advance()
    await world.advance(-jump)
    world.tell(waiting)
    for _ in range(8):
        await world.advance()
    assert await world.learned() == 40
    assert (await world.replay()).is_same


async def test_a_clock_that_went_back_does_not_stop_the_learning(world):
    await world.begin()
    await world.advance(300 * DAY)
    world.clock.jump(-300 * DAY)
    await learn(world)
    assert await world.learned() == 20


async def test_a_slot_whose_version_vanished_is_answered_by_the_champion_until_it_is_back(world):
    await world.begin()
    assert (await world.record()).published.versions == ("1", "2", "3")
    world.registry.names.remove("2")
    await world.advance()
    assert (await world.record()).published.versions == ("1", "1", "3")
    (alert,) = await world.store.alerts("churn")
    assert alert.message.endswith("whose version has left the registry: all (version 2)")
    world.registry.names.add("2")
    await world.advance()
    assert (await world.record()).published.versions == ("1", "2", "3")
    assert not (await world.store.alerts("churn"))[0].is_open


async def test_a_pass_rebuilds_its_learner_once_and_asks_the_registry_once(world, monkeypatch):
    await world.begin()
    await world.answer()
    rebuilt, build = [], MixtureLearner.from_plain.__func__
    monkeypatch.setattr(
        MixtureLearner, "from_plain", classmethod(lambda cls, state: rebuilt.append(1) or build(cls, state))
    )
    monkeypatch.setattr(world.registry, "listings", 0)
    await world.advance()
    assert (len(rebuilt), world.registry.listings, await world.learned()) == (1, 1, 20)


async def test_slots_join_and_retire_with_the_policy_and_replay_agrees(world):
    await world.begin()
    await learn(world)
    world.spec = replace(SPEC, policy=replace(POLICY, slots=("champion", "all", "1/16")))
    await world.advance()
    record = await world.record()
    assert record.state["slots"] == ["champion", "all", "1/16"]
    assert record.published.slots == ("champion", "all", "1/16")
    assert (await world.replay()).is_same, (await world.replay()).difference
    await learn(world)
    assert (await world.replay()).is_same, (await world.replay()).difference


async def test_rows_of_before_a_slot_joined_are_learned_after_it(world):
    await world.begin()
    ids = await world.answer(label=False)
    world.spec = replace(SPEC, policy=replace(POLICY, slots=("champion", "all", "1/16")))
    await world.advance()
    world.tell(ids)
    await world.advance()
    assert await world.learned() == 20
    assert (await world.replay()).is_same


async def test_forgotten_rows_are_as_if_they_had_never_come(world):
    await world.begin()
    await learn(world)
    start = world.clock.now()
    poison = await world.answer(label=False)
    world.tell(poison, dict.fromkeys(poison, "no"))
    await world.advance()
    await learn(world)
    changed = await forget_rows(act(world), start - 20, start, world.context())
    record = await world.record()
    assert await world.learned() == changed.state["rows"] == 40
    assert record.published.learned == 40
    assert (await world.replay()).is_same, (await world.replay()).difference
    for _ in range(3):
        await world.advance()
    assert await world.learned() == 40
    await learn(world)
    assert await world.learned() == 60
    assert (await world.replay()).is_same, (await world.replay()).difference


async def test_a_range_that_is_forgotten_before_its_labels_come_is_never_learned(world):
    await world.begin()
    ids = await world.answer(label=False)
    await world.advance()
    await forget_rows(act(world), START, world.clock.now() - 1, world.context())
    world.tell(ids)
    await world.advance()
    assert await world.learned() == 0


@pytest.mark.parametrize("days", [0.5, 10.0])
async def test_a_frozen_mixture_learns_nothing_and_a_thawed_one_what_waited(world, days):
    await world.begin()
    await learn(world)
    await change_mode(act(world), MixtureMode.FROZEN, world.context())
    state = (await world.record()).state
    await learn(world)
    for _ in range(10):
        await world.advance(days * DAY / 10)
    assert (await world.record()).state == state
    await change_mode(act(world), MixtureMode.LEARNING, world.context())
    await world.advance()
    assert await world.learned() == 40
    assert (await world.record()).held_since == 0.0
    assert (await world.replay()).is_same


async def test_the_champion_alone_is_no_mixture_and_what_was_answered_before_is_still_learned(world):
    await world.begin()
    ids = await world.answer(label=False)
    await change_mode(act(world), MixtureMode.CHAMPION_ONLY, world.context())
    assert await world.advance() is None
    world.tell(ids)
    assert await world.advance() is None
    assert await world.learned() == 20
    await change_mode(act(world), MixtureMode.LEARNING, world.context())
    assert (await world.advance()).learned == 20


async def test_weights_are_published_only_where_an_answer_moves_by_more_than_a_thousandth(world):
    await world.begin()
    for _ in range(100):
        before = await world.record()
        await learn(world, 1)
        after = await world.record()
        assert after.passes == before.passes + 1
        if after.published.digest == before.published.digest:
            break
    else:
        pytest.fail("100 passes of a row each moved an answer by more than a thousandth")
    assert after.published_at == before.published_at
    assert (await world.replay()).is_same


async def test_without_a_policy_of_a_mixture_the_champion_answers_alone(world):
    world.spec = replace(SPEC, policy=None)
    assert await world.advance() is None
    assert await world.store.mixture("churn") is None
