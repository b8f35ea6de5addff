import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.domain.routing import RoutingTable
from optagent.errors import Conflict, InvalidRequest
from optagent.ports import Routes
from tests.fakes.routes import InMemoryRoutes

NOON = 1_700_049_600.125


def a_table(revision: int = 1, model_id: str = "churn", **changes: Any) -> RoutingTable:
    return replace(RoutingTable(model_id, revision, champion="3"), **changes)


class Listener:
    """A listener to changes that does not wait for ever."""

    def __init__(self, changes: AsyncIterator[RoutingTable | None]) -> None:
        self._changes = changes

    async def next(self) -> RoutingTable | None:
        async with asyncio.timeout(5):
            return await anext(self._changes)


@asynccontextmanager
async def listening(routes: Routes) -> AsyncIterator[Listener]:
    async with aclosing(routes.changes()) as changes:
        listener = Listener(changes)
        assert await listener.next() is None
        yield listener


async def test_routes_that_work_check_out(routes):
    await routes.check()


async def test_without_tables_there_is_nothing(routes):
    assert await routes.tables() == []
    assert await routes.active_table("churn") is None
    assert await routes.staged_table("churn") is None
    assert await routes.gateways() == {}
    assert await routes.acknowledgements("churn", 1) == {}


async def test_a_table_is_staged_and_then_active_from_a_time_on(routes):
    rollout = {"warm": ("3", "4"), "rollout_id": "é", "state": "ramp", "step": 2, "digests": {"4": "d4", "3": "d3"}}
    table = a_table(candidate="4", share=0.25, shadow="5", **rollout)
    await routes.stage(table)
    assert await routes.staged_table("churn") == table
    assert await routes.active_table("churn") is None
    active = replace(table, activate_at=NOON)
    assert await routes.activate("churn", 1, NOON) == active
    assert await routes.active_table("churn") == active
    assert await routes.staged_table("churn") is None


async def test_the_active_table_stays_while_the_next_is_staged(routes):
    await routes.stage(a_table(1))
    active = await routes.activate("churn", 1, NOON)
    await routes.stage(a_table(2))
    assert await routes.active_table("churn") == active
    assert await routes.staged_table("churn") == a_table(2)


async def test_tables_of_all_models_come_by_model_and_revision(routes):
    for model_id in ("b", "a"):
        await routes.stage(a_table(1, model_id))
    active = await routes.activate("b", 1, NOON)
    await routes.stage(a_table(2, "b"))
    assert await routes.tables() == [a_table(1, "a"), active, a_table(2, "b")]


@pytest.mark.parametrize(("revision", "says"), [(1, "table 1 is active"), (3, "the next one is 2")])
async def test_a_table_that_does_not_follow_the_active_one_is_a_conflict(routes, revision, says):
    await routes.stage(a_table(1))
    active = await routes.activate("churn", 1, NOON)
    with pytest.raises(Conflict, match=f"table {revision} of churn.*{says}"):
        await routes.stage(a_table(revision))
    assert await routes.tables() == [active]


async def test_the_first_table_has_revision_1(routes):
    with pytest.raises(Conflict, match=r"table 2 of churn.*none is active"):
        await routes.stage(a_table(2))


async def test_a_staged_table_is_replaced_and_what_was_said_of_it_forgotten(routes):
    await routes.stage(a_table())
    await routes.acknowledge("g1", "churn", 1)
    await routes.stage(a_table(champion="4"))
    assert await routes.staged_table("churn") == a_table(champion="4")
    assert await routes.acknowledgements("churn", 1) == {}


async def test_staging_the_same_table_again_forgets_nothing(routes):
    await routes.stage(a_table())
    await routes.acknowledge("g1", "churn", 1)
    await routes.stage(a_table())
    assert await routes.acknowledgements("churn", 1) == {"g1": ""}


async def test_a_table_with_a_time_cannot_be_staged(routes):
    with pytest.raises(InvalidRequest, match="table 1 of churn"):
        await routes.stage(a_table(activate_at=NOON))


async def test_what_is_not_staged_cannot_be_activated(routes):
    with pytest.raises(Conflict, match="table 1 of churn is not staged, none is"):
        await routes.activate("churn", 1, NOON)
    await routes.stage(a_table(1))
    with pytest.raises(Conflict, match="table 2 of churn is not staged, table 1 is"):
        await routes.activate("churn", 2, NOON)
    await routes.activate("churn", 1, NOON)
    with pytest.raises(Conflict, match="table 1 of churn is not staged"):
        await routes.activate("churn", 1, NOON + 1)


@pytest.mark.parametrize("at", [float("nan"), float("inf")])
async def test_a_time_that_is_no_number_is_refused(routes, at):
    await routes.stage(a_table())
    with pytest.raises(InvalidRequest, match="time"):
        await routes.activate("churn", 1, at)
    assert await routes.tables() == [a_table()]


async def test_of_many_who_activate_a_table_exactly_one_succeeds(routes):
    await routes.stage(a_table())
    tries = (routes.activate("churn", 1, NOON + number) for number in range(20))
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(answer, Conflict) for answer in answers) == 19
    assert [await routes.active_table("churn")] == [answer for answer in answers if isinstance(answer, RoutingTable)]


async def test_a_table_that_was_unstaged_is_forgotten_with_what_was_said_of_it(routes):
    await routes.stage(a_table())
    await routes.acknowledge("g1", "churn", 1)
    await routes.unstage("churn", 1)
    assert await routes.tables() == []
    assert await routes.acknowledgements("churn", 1) == {}
    with pytest.raises(Conflict, match="not staged"):
        await routes.activate("churn", 1, NOON)


async def test_unstaging_another_revision_changes_nothing(routes):
    await routes.unstage("churn", 1)
    await routes.stage(a_table(1))
    await routes.unstage("churn", 2)
    assert await routes.tables() == [a_table(1)]


async def test_a_listener_is_told_at_once_that_it_listens_and_then_of_every_table(routes):
    await routes.stage(a_table(1))
    async with listening(routes) as listener:
        active = await routes.activate("churn", 1, NOON)
        await routes.stage(a_table(1, "other"))
        await routes.stage(a_table(2))
        assert [await listener.next() for _ in range(3)] == [active, a_table(1, "other"), a_table(2)]


async def test_a_listener_is_told_to_look_where_a_table_was_unstaged(routes):
    await routes.stage(a_table())
    async with listening(routes) as listener:
        await routes.unstage("churn", 1)
        assert await listener.next() is None


async def test_a_refused_table_is_not_told_of(routes):
    async with listening(routes) as listener:
        with pytest.raises(Conflict):
            await routes.stage(a_table(2))
        await routes.stage(a_table(1))
        assert await listener.next() == a_table(1)


async def test_all_listeners_are_told(routes):
    async with listening(routes) as one, listening(routes) as another:
        await routes.stage(a_table())
        assert await one.next() == await another.next() == a_table()


async def test_a_listener_hears_after_a_long_silence(routes):
    async with listening(routes) as listener:
        heard = asyncio.create_task(listener.next())
        await asyncio.sleep(1.3)  # the server is asked whether it is there after 1 s
        assert not heard.done()
        await routes.stage(a_table())
        assert await heard == a_table()


async def test_a_gateway_is_alive_for_as_long_as_it_says(routes_under_test):
    routes = routes_under_test.port
    await routes.beat("long", 60)
    await routes.beat("short", 0.05)
    await routes.beat("prolonged", 0.05)
    await routes.beat("prolonged", 60)
    await routes_under_test.pass_time(0.3)
    assert set(await routes.gateways()) == {"long", "prolonged"}


async def test_a_gateway_was_last_heard_of_when_it_last_said_so(routes_under_test):
    routes = routes_under_test.port
    await routes.beat("g1", 60)
    first = await routes.gateways()
    await routes_under_test.pass_time(0.2)
    assert await routes.gateways() == first
    await routes.beat("g1", 60)
    assert (await routes.gateways())["g1"] > first["g1"]


async def test_a_gateway_that_leaves_is_gone_at_once(routes):
    await routes.beat("g1", 60)
    await routes.leave("g1")
    await routes.leave("was never here")
    assert await routes.gateways() == {}


@pytest.mark.parametrize("alive_s", [0, -1, float("nan"), float("inf")])
async def test_a_time_to_live_that_is_no_duration_is_refused(routes, alive_s):
    with pytest.raises(InvalidRequest, match="alive_s"):
        await routes.beat("g1", alive_s)


async def test_what_gateways_said_last_of_a_table_is_known(routes):
    await routes.acknowledge("g1", "churn", 1, "é: no such version")
    await routes.acknowledge("g2", "churn", 1)
    await routes.acknowledge("g1", "churn", 2)
    assert await routes.acknowledgements("churn", 1) == {"g1": "é: no such version", "g2": ""}
    await routes.acknowledge("g1", "churn", 1)
    assert await routes.acknowledgements("churn", 1) == {"g1": "", "g2": ""}
    assert await routes.acknowledgements("other", 1) == {}


async def test_what_was_said_of_a_table_is_forgotten_after_an_hour():
    clock = ManualClock()
    routes = InMemoryRoutes(clock)
    await routes.acknowledge("g1", "churn", 1)
    clock.advance(3599)
    assert await routes.acknowledgements("churn", 1) == {"g1": ""}
    clock.advance(1)
    assert await routes.acknowledgements("churn", 1) == {}
