"""Learned rows that leave the archive, erased or past their retention: the replay says so, and learning goes on."""

import contextlib
from dataclasses import replace

from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.domain.mixture import FORGOT
from optagent.loop.context import Ports
from optagent.loop.mixture.acts import forget_rows
from optagent.loop.retention import erase_rows
from tests.unit.loop.mixture.test_kills import Killed, Lifetime
from tests.unit.loop.mixture.test_passes import act, learn


def agent_ports(world):
    return Ports(
        world.store,
        InMemoryDatasets({}),
        SequentialTuner(),
        world.registry,
        InMemoryTracker(),
        world.clock,
        observations=world.observations,
    )


async def test_erased_rows_are_told_of_by_the_replay_and_are_not_learned_again(world):
    await world.begin()
    ids = await learn(world)
    await learn(world)
    counts = await erase_rows("churn", ids[:3], agent_ports(world), "ana")
    assert counts["learned"] == 3
    replay = await world.replay()
    assert (replay.is_same, replay.gone, replay.rows) == (False, 3, 37)
    assert replay.difference.startswith("3 of 40 learned rows have left the archive, erased or past their retention:")
    await world.advance()
    await learn(world)
    assert await world.learned() == 60


async def test_passes_that_are_past_their_retention_are_counted(world):
    await world.begin()
    ids = await learn(world)
    await learn(world)
    await erase_rows("churn", ids, agent_ports(world), "ana")
    assert "20 of 40 learned rows" in (await world.replay()).difference
    assert "1 of its 2 passes wholly" in (await world.replay()).difference


async def test_an_erasure_reaches_rows_that_only_the_journal_holds(world):
    await world.begin()
    ids = await world.answer()
    with contextlib.suppress(Killed):
        await world.advance(observations=Lifetime(2, after=False).wrap(world.observations))
    assert (await world.record()).pending
    counts = await erase_rows("churn", ids, agent_ports(world), "ana")
    assert counts["learned"] == 20
    await world.advance()
    assert world.learned_ids() == []
    assert not (await world.record()).pending


async def test_to_forget_rows_after_others_have_gone_tells_of_how_many_rows_the_weights_are(world):
    await world.begin()
    ids = await learn(world)
    await learn(world)
    await erase_rows("churn", ids[:3], agent_ports(world), "ana")
    end = world.clock.now() - 600
    await forget_rows(act(world), end - 20, end, world.context())
    (event,) = [event for event in (await world.record()).events if event.kind == FORGOT]
    assert (event.detail["rows"], event.detail["gone"]) == (17, 3)
    assert await world.learned() == 17
    assert (await world.replay()).is_same


async def test_rows_that_the_journal_does_not_know_are_a_difference(world):
    await world.begin()
    await learn(world)
    record = await world.record()
    await world.store.save_mixture(replace(record, state={**record.state, "rows": 15}), record)
    assert (await world.replay()).difference == "the archive has 5 rows more than the journal has learned"
