"""Kills and rivals: a process that dies at any write, or two that learn at once, leave a journal that goes on."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from optagent.errors import Conflict, Unavailable
from optagent.loop.mixture.acts import forget_rows
from optagent.loop.mixture.advance import PUBLISHED, advance_mixture
from optagent.ports import RecordKind
from tests.unit.loop.mixture.test_passes import act, learn

WRITES = frozenset({"save_mixture", "append_audit", "save_alerts", "record", "drain"})
MOST_WRITES = 12


class Killed(Exception):
    """The end of a process."""


class Lifetime:
    """The writes that a process has left; it dies before the write of number `last`, or right after it."""

    def __init__(self, last: int, after: bool) -> None:
        self.left, self.after = last, after

    def wrap(self, port: Any) -> Any:
        return MortalPort(port, self)


class MortalPort:
    """A port whose process dies at a write."""

    def __init__(self, port: Any, lifetime: Lifetime) -> None:
        self._port, self._lifetime = port, lifetime

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._port, name)
        if name not in WRITES:
            return call
        return self._write_async(call) if asyncio.iscoroutinefunction(call) else self._write(call)

    def _begin(self) -> None:
        if self._lifetime.left == 1 and not self._lifetime.after:
            self._lifetime.left = -1
            raise Killed

    def _end(self) -> None:
        self._lifetime.left -= 1
        if self._lifetime.left == 0 and self._lifetime.after:
            raise Killed

    def _write(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def write(*values: Any) -> Any:
            self._begin()
            answer = call(*values)
            self._end()
            return answer

        return write

    def _write_async(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def write(*values: Any) -> Any:
            self._begin()
            answer = await call(*values)
            self._end()
            return answer

        return write


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, MOST_WRITES + 1))
async def test_a_kill_at_any_write_learns_no_row_twice_and_leaves_none_out(world, number, after):
    await world.begin()
    await learn(world)
    await world.answer()
    lifetime, died = Lifetime(number, after), False
    store, observations = lifetime.wrap(world.store), lifetime.wrap(world.observations)
    try:
        await world.advance(store=store, observations=observations)
    except Killed:
        died = True
    assert died or number > 5, "a pass that learns has more writes than that"
    await world.advance()
    await learn(world)
    record = await world.record()
    assert record.is_settled
    assert await world.learned() == 60
    assert world.learned_ids() == sorted(set(world.learned_ids()))
    assert [name for name, _ in world.learned_ids()] == sorted(world.labels)
    replay = await world.replay()
    assert replay.is_same, replay.difference
    assert replay.digests >= 3


@pytest.mark.parametrize("number", range(1, 8))
async def test_a_kill_in_the_first_pass_leaves_a_mixture_that_begins_all_the_same(world, number):
    await world.store.save_model(world.spec)
    lifetime = Lifetime(number, after=True)
    with contextlib.suppress(Killed):
        await world.advance(store=lifetime.wrap(world.store), observations=lifetime.wrap(world.observations))
    await world.begin()
    await learn(world)
    assert await world.learned() == 20
    assert (await world.replay()).is_same


@pytest.mark.parametrize("number", [1, 2])
async def test_a_kill_while_rows_are_forgotten_forgets_them_wholly_or_not_at_all(world, number):
    await world.begin()
    await learn(world)
    context = replace(world.context(), store=Lifetime(number, after=False).wrap(world.store))
    end = world.clock.now() - 600
    with contextlib.suppress(Killed):
        await forget_rows(act(world), end - 20, end, context)
    await world.advance()
    assert await world.learned() == (20 if number == 1 else 0)
    replay = await world.replay()
    assert replay.is_same, replay.difference


async def test_rows_are_forgotten_though_passes_go_on_while_the_weights_are_made_again(world):
    class Busy(MortalPort):
        """A store that passes write to before each of three tries to forget."""

        tries = 0

        async def save_mixture(self, record, before):
            if record.forgotten and self.tries < 3:
                self.tries += 1
                slots = ("champion", "all", "1/16") if self.tries == 2 else world.spec.policy.slots
                world.spec = replace(world.spec, policy=replace(world.spec.policy, slots=slots))
                await world.store.save_model(world.spec)
                await learn(world)
            await self._port.save_mixture(record, before)

    await world.begin()
    await learn(world)
    end = world.clock.now() - 600
    await learn(world)
    busy = Busy(world.store, Lifetime(-1, True))
    await forget_rows(act(world), end - 20, end, replace(world.context(), store=busy))
    assert busy.tries == 3
    assert await world.learned() == 80
    assert (await world.record()).state["slots"] == ["champion", "all", "1/16"]
    replay = await world.replay()
    assert replay.is_same, replay.difference


async def test_of_two_learners_at_once_one_learns_and_the_other_takes_its_weights(world):
    await world.begin()
    await world.answer()
    world.clock.advance(600.0)
    champion = world.registry.version("churn", "champion")
    gate = asyncio.Event()

    class SlowStore(MortalPort):
        """A store that another process is sooner to write to."""

        async def save_mixture(self, record, before):
            await gate.wait()
            await self._port.save_mixture(record, before)

    slow = SlowStore(world.store, Lifetime(-1, after=True))
    late = asyncio.create_task(advance_mixture(world.spec, champion, world.ports(store=slow)))
    await asyncio.sleep(0.05)
    world.clock.advance(1.0)
    await world.answer()
    first = await advance_mixture(world.spec, champion, world.ports())
    gate.set()
    assert await late == first == (await world.record()).published
    assert await world.learned() == 40
    assert (await world.replay()).is_same


async def test_a_conflict_is_raised_where_no_journal_is_there_to_follow(world):
    class Refusing(MortalPort):
        async def save_mixture(self, record, before):
            raise Conflict("the mixture of 'churn' was changed by another process")

    champion = world.registry.version("churn", "champion")
    with pytest.raises(Conflict):
        await advance_mixture(world.spec, champion, world.ports(store=Refusing(world.store, Lifetime(-1, True))))


async def test_rows_that_wait_behind_others_in_the_queue_are_archived_before_the_next_pass(world):
    class Slow(MortalPort):
        """A queue that moves one call at a time."""

        def drain(self, model_id, most=1):
            return self._port.drain(model_id, 1)

    await world.begin()
    slow = Slow(world.observations, Lifetime(-1, True))
    for _ in range(6):
        await world.answer(5)
    for _ in range(20):
        await world.advance(observations=slow)
    assert await world.learned() == 30
    assert (await world.replay()).is_same


@pytest.mark.parametrize("moved", [0, 7], ids=["idle", "while others record"])
async def test_nothing_more_is_learned_while_another_process_holds_the_learned_rows(world, moved):
    class Held(MortalPort):
        """Observations whose learned rows another process has taken and not archived yet."""

        def drain(self, model_id, most=1):
            return moved

        def record(self, model_id, kind, rows):
            if kind is not RecordKind.LEARNED:
                self._port.record(model_id, kind, rows)

    await world.begin()
    await world.answer()
    world.observations.drain("churn")
    held = Held(world.observations, Lifetime(-1, True))
    for _ in range(3):
        with pytest.raises(Unavailable, match="20 rows that its mixture has learned are not archived"):
            await world.advance(observations=held)
    assert await world.learned() == 20
    await world.advance()
    await world.advance()
    assert await world.learned() == 20
    assert (await world.replay()).is_same
    assert [entry.action for entry in await world.store.audit(1)] == [PUBLISHED]
