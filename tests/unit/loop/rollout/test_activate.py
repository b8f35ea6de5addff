"""Table activation: all gateways change tables at one moment, also where it is cut short."""

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.domain.routing import RoutingTable
from optagent.errors import Conflict
from optagent.loop.rollout.activate import TableNotLoaded, activate_table
from tests.fakes.routes import InMemoryRoutes

ALONE = RoutingTable("churn", 1, "1")
SHADOW = RoutingTable("churn", 1, "1", shadow="2", warm=("1", "2"), rollout_id="r1", state="shadow")
NEXT = RoutingTable("churn", 1, "2")


class Gateways:
    """Gateways by name, with their answer to a staged table: "" for loaded, None for no answer (yet)."""

    def __init__(self, **answers: str | None) -> None:
        self.clock = ManualClock(1_000.0)
        self.routes = InMemoryRoutes(self.clock)
        self.answers = answers
        self.staged_table: list[RoutingTable] = []

    async def activate(self, table: RoutingTable, patience_s: float = 30.0, insist: bool = False):
        await self.beat()
        return await activate_table(table, self.routes, self.clock, self.sleep, patience_s, insist)

    async def beat(self) -> None:
        for name in self.answers:
            await self.routes.beat(name, 3.0)

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        table = await self.routes.staged_table("churn")
        if table is None:
            return
        self.staged_table.append(table)
        for name, answer in self.answers.items():
            if answer is not None:
                await self.routes.acknowledge(name, "churn", table.revision, answer)


async def test_without_gateways_a_table_is_active_at_once():
    world = Gateways()
    activation = await world.activate(ALONE)

    assert (activation.table.revision, activation.table.activate_at, activation.changed) == (1, 1_000.0, True)


async def test_a_table_is_active_a_moment_after_all_gateways_have_loaded_it():
    world = Gateways(g1="", g2="")
    await world.activate(ALONE)
    activation = await world.activate(SHADOW)

    assert activation.table == await world.routes.active_table("churn")
    assert activation.table.revision == 2
    assert activation.table.activate_at == pytest.approx(world.clock.now())  # when it says so, it is
    assert await world.routes.staged_table("churn") is None


async def test_a_way_back_takes_a_few_milliseconds():
    world = Gateways(g1="", g2="")
    await world.activate(SHADOW)
    before = world.clock.now()
    await world.activate(ALONE)

    assert world.clock.now() - before < 0.035


async def test_what_is_active_already_is_left_alone_and_what_was_staged_for_another_end_is_forgotten():
    world = Gateways(g1="")
    first = await world.activate(ALONE)
    assert await world.activate(ALONE) == type(first)(first.table, changed=False)
    await world.routes.stage(RoutingTable("churn", 2, "3"))
    again = await world.activate(ALONE)

    assert again.changed is False
    assert await world.routes.staged_table("churn") is None


async def test_a_gateway_that_cannot_load_a_version_keeps_all_on_the_table_they_have():
    world = Gateways(g1="")
    await world.activate(ALONE)
    world.answers = {"g1": "", "g2": "version 2: corrupt bundle"}
    with pytest.raises(
        TableNotLoaded, match=r"churn: table 2 cannot be loaded by g2: version 2: corrupt bundle"
    ) as error:
        await world.activate(SHADOW)

    assert error.value.refused
    assert (await world.routes.active_table("churn")).answers_like(ALONE)
    assert await world.routes.staged_table("churn") is None


async def test_patience_ends_and_the_next_swap_goes_on_with_the_same_staged_table():
    world = Gateways(g1="", g2=None)
    with pytest.raises(TableNotLoaded, match=r"table 1 is not loaded by g2 \(waited 2") as error:
        await world.activate(SHADOW, patience_s=2.0)
    assert not error.value.refused
    waiting = await world.routes.staged_table("churn")
    world.answers["g2"] = ""
    activation = await world.activate(SHADOW)

    assert waiting is not None
    assert activation.table.revision == waiting.revision
    assert set(world.staged_table) == {waiting}


async def test_a_gateway_that_stops_beating_does_not_count():
    world = Gateways(g1="", g2=None)
    activation = await world.activate(SHADOW, patience_s=10.0)  # nobody beats while it waits

    assert activation.changed
    assert world.clock.now() > 1_003.0


async def test_on_the_way_back_gateways_that_are_not_ready_hold_up_nobody_that_is():
    world = Gateways(g1="", g2="")
    await world.activate(SHADOW)
    for answer in (None, "out of memory"):
        world.answers["g2"] = answer
        for table in (ALONE, SHADOW):
            assert (await world.activate(table, insist=True)).changed


async def test_a_table_that_no_gateway_can_load_is_not_insisted_on():
    world = Gateways(g1="no such version")
    with pytest.raises(TableNotLoaded, match="no such version"):
        await world.activate(NEXT, insist=True)
    world.answers["g1"] = None
    with pytest.raises(TableNotLoaded, match="is not loaded by g1"):
        await world.activate(NEXT, patience_s=1.0, insist=True)


async def test_whoever_is_cut_short_between_staging_and_activation_is_gone_on_with():
    world = Gateways(g1="")
    await world.routes.stage(SHADOW)
    activation = await world.activate(SHADOW)

    assert activation.table.revision == 1
    assert (await world.routes.active_table("churn")).answers_like(SHADOW)


async def test_of_two_writers_the_one_whose_table_was_replaced_is_told():
    world = Gateways(g1=None)

    async def other(seconds: float) -> None:
        await world.routes.stage(NEXT)
        await world.routes.acknowledge("g1", "churn", 1)

    await world.beat()
    with pytest.raises(Conflict, match="another writer"):
        await activate_table(ALONE, world.routes, world.clock, other)

    assert (await world.routes.active_table("churn")).answers_like(NEXT)
