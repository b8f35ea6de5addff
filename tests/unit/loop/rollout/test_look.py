"""Rollout looks: the rows decide about a candidate, and router, registry and journal agree also after a kill."""

import asyncio
import contextlib
import random
from dataclasses import replace
from typing import Any

import pytest

from optagent.domain.gate import Verdict
from optagent.domain.rollout import abort, begin, promote, rollback
from optagent.domain.rollout_look import GuardrailReading, JudgedLook, Look, RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.errors import Conflict
from optagent.loop.rollout.look import is_look_due, look_and_advance
from optagent.loop.rollout.reconcile import follow
from optagent.loop.rollout.supervise import supervise

WRITES = frozenset({"save_rollout", "append_audit", "stage", "activate", "unstage", "set_alias"})


def states(rollout):
    return [(change.state, change.step) for change in rollout.transitions]


async def test_a_better_candidate_takes_the_champions_place_by_itself(new_world, new_candidate):
    world = new_world(new_candidate(noise=0.05))
    await world.begin()
    rollout = await world.run(passes=60, rows=400)

    assert states(rollout) == [
        (RolloutState.SHADOW, 0),
        (RolloutState.RAMP, 0),
        (RolloutState.RAMP, 1),
        (RolloutState.BAKING, 0),
        (RolloutState.PROMOTED, 0),
    ]
    assert await world.champions() == {"2"}
    assert (await world.routes.active_table("churn")).rollout_id == ""
    actions = [entry.action for entry in reversed(await world.store.audit())]
    assert actions == [f"rollout.{change.state}" for change in rollout.transitions]


async def test_a_worse_candidate_never_answers_a_request(new_world, new_candidate):
    world = new_world(new_candidate(noise=0.35))
    await world.begin()
    rollout = await world.run(passes=60, rows=400)

    assert states(rollout) == [(RolloutState.SHADOW, 0), (RolloutState.ROLLED_BACK, 0)]
    assert rollout.transitions[-1].reason.startswith("improvement at most -0.")
    assert await world.champions() == {"1"}


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        ({"fails": 0.05}, "errors: rate 0.0"),
        ({"nothing": True}, "errors: rate 1 "),
        ({"latency_ms": 300.0}, "slow: rate 1 "),
    ],
    ids=["fails 5 %", "scores are no numbers", "slow"],
)
async def test_a_candidate_that_harms_requests_is_rolled_back_without_any_label(
    new_world, new_candidate, behaviour, why
):
    world = new_world(new_candidate(noise=0.05, **behaviour))
    await world.begin()
    rollout = await world.run(passes=10, labelled=False)

    assert states(rollout)[1:] == [(RolloutState.ROLLED_BACK, 0)]
    assert rollout.transitions[-1].reason.startswith(why)
    assert await world.champions() == {"1"}


async def test_harm_in_the_champions_place_goes_back(new_world, new_candidate):
    world = new_world(new_candidate(noise=0.15))
    await world.begin(baking_s=5_000.0)
    await world.run(passes=2)
    await world.decide(promote)
    await world.pass_by()
    assert await world.champions() == {"2"}
    world.candidate.noise = 0.6
    rollout = await world.run(passes=5)

    assert rollout.state is RolloutState.ROLLED_BACK
    assert await world.champions() == {"1"}


async def test_a_candidate_without_a_label_stays_in_shadow_until_patience_ends(new_world, new_candidate):
    world = new_world(new_candidate(noise=0.05))
    await world.begin(max_duration_s=10_000.0)
    rollout = await world.run(passes=20, labelled=False)
    assert rollout.state is RolloutState.SHADOW
    world.clock.advance(10_000.0)
    rollout = await world.run(passes=2, labelled=False)

    assert rollout.state is RolloutState.INCONCLUSIVE
    assert rollout.transitions[-1].reason.startswith("undecided for 1")
    assert await world.champions() == {"1"}


async def test_without_the_champions_reference_only_the_guardrails_speak(new_world, new_candidate):
    world = new_world(new_candidate(noise=0.05))
    world.observations.save_reference("churn", "1", b"damaged")
    await world.begin()
    rollout = await world.run(passes=10)
    assert rollout.state is RolloutState.SHADOW
    assert rollout.looks[-1].look.notes[0].startswith("no losses: not a reference")
    world.candidate.fails = 0.5

    assert (await world.run(passes=12)).state is RolloutState.ROLLED_BACK


ROLLOUT = begin("r1", "churn", "1", "2", RolloutPolicy(baking_s=60.0, max_duration_s=5_000.0), 0.0, "ana")
BAKING = promote(ROLLOUT, "ana", "sure", 100.0)


def look(state, rows=0, guarded=0, at=0.0):
    return Look("a", at, state, 0, rows, rows, None, (GuardrailReading("errors", 0.01, guarded, 0.0, 1.0),))


def after(rollout, *looks):
    return replace(rollout, looks=tuple(JudgedLook(look, Verdict.INCONCLUSIVE, "") for look in looks))


@pytest.mark.parametrize(
    ("rollout", "seen_now", "now", "worth"),
    [
        (ROLLOUT, look("shadow"), 10.0, False),
        (ROLLOUT, look("shadow", guarded=1), 10.0, True),
        (after(ROLLOUT, look(RolloutState.SHADOW, 1_000, 1_000)), look("shadow", 1_019, 1_019), 10.0, False),
        (after(ROLLOUT, look(RolloutState.SHADOW, 1_000, 1_000)), look("shadow", 1_020, 1_000), 10.0, True),
        (after(ROLLOUT, look(RolloutState.SHADOW, 1_000, 1_000)), look("shadow", 1_000, 1_020), 10.0, True),
        (after(ROLLOUT, look(RolloutState.SHADOW, 10, 10)), look("shadow", 11, 10), 10.0, True),
        (after(ROLLOUT, look(RolloutState.SHADOW, 10, 10)), look("shadow", 10, 10), 5_000.0, True),
        (after(ROLLOUT, look(RolloutState.SHADOW, 10, 10, at=5_000.0)), look("shadow", 10, 10), 5_001.0, False),
        (after(BAKING, look(RolloutState.SHADOW, 10, 10)), look("baking", 0, 10), 159.0, False),
        (after(BAKING, look(RolloutState.SHADOW, 10, 10)), look("baking", 0, 10), 160.0, True),
    ],
)
def test_a_look_is_worth_it_where_rows_have_grown_or_a_time_is_over(rollout, seen_now, now, worth):
    assert is_look_due(rollout, seen_now, now) is worth


def test_looks_come_ever_more_rarely():
    rollout, looks = ROLLOUT, 0
    for rows in range(1, 20_001):
        next_look = look(RolloutState.SHADOW, rows, rows)
        if is_look_due(rollout, next_look, 10.0):
            rollout, looks = after(rollout, next_look), looks + 1

    assert 300 < looks < 400


async def test_what_took_long_to_read_is_left_alone_for_twenty_times_as_long(world):
    class Slow:
        reads = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(world.observations, name)

        def evidence(self, model_id: str, since: float) -> Any:
            self.reads += 1
            world.clock.advance(0.5)
            return world.observations.evidence(model_id, since)

    await world.begin()
    slow = Slow()
    live = world.live(observations=slow)
    for _ in range(10):
        await world.pass_by(live)
    assert slow.reads == 1
    await world.pass_by(live)

    assert slow.reads == 2


async def test_of_two_looks_at_once_one_counts(world):
    await world.begin()
    await world.pass_by()
    await world.traffic(300)
    rollout = await world.rollout()
    spec = await world.store.model("churn")
    await look_and_advance(rollout, spec, world.live())
    with pytest.raises(Conflict):
        await look_and_advance(rollout, spec, world.live())

    assert len((await world.rollout()).looks) == 1


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """Ports of a process that is killed at its write number `life`, before or after it has taken effect."""

    def __init__(self, life: int, late: bool) -> None:
        self.left, self.late = life, late

    def wrap(self, port: Any) -> Any:
        mortal = self

        class Wrapped:
            def __getattr__(self, name: str) -> Any:
                verb = getattr(port, name)
                if name not in WRITES:
                    return verb
                return mortal.wrap_call(verb) if name == "set_alias" else mortal.wrap_coroutine(verb)

        return Wrapped()

    def wrap_call(self, verb: Any) -> Any:
        def call(*values: Any) -> Any:
            self.die(before=True)
            done = verb(*values)
            self.die(before=False)
            return done

        return call

    def wrap_coroutine(self, verb: Any) -> Any:
        async def call(*values: Any) -> Any:
            self.die(before=True)
            done = await verb(*values)
            self.die(before=False)
            return done

        return call

    def die(self, before: bool) -> None:
        if before is self.late:
            return
        self.left -= 1
        if self.left == 0:
            raise Killed


async def decide_all(world, *acts):
    """Begins a rollout and has people decide it by these acts, each of which is settled."""
    await world.begin()
    await world.pass_by()
    for act in acts:
        await world.decide(act)
        await world.pass_by()


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("acts", "act", "meant"),
    [
        ((), promote, RolloutState.BAKING),
        ((), abort, RolloutState.ABORTED),
        ((promote,), promote, RolloutState.PROMOTED),
        ((promote,), rollback, RolloutState.ROLLED_BACK),
        ((promote, promote), rollback, RolloutState.ROLLED_BACK),
    ],
    ids=["promote", "abort", "end of baking", "roll back", "roll back after the end"],
)
async def test_whatever_write_it_is_killed_at_there_is_one_champion_after_the_next_pass(
    new_world, acts, act, meant, late
):
    for life in range(1, 20):
        world = new_world()
        await decide_all(world, *acts)
        before = await world.rollout()
        mortal = Mortal(life, late)
        live = world.live(
            store=mortal.wrap(world.store), routes=mortal.wrap(world.routes), registry=mortal.wrap(world.registry)
        )
        try:
            await world.decide(act, live.store)
            await follow("r1", live)
            survived = True
        except Killed:
            survived = False
        decided = (await world.rollout()).state is meant
        assert (await world.pass_by()).errors == {}
        rollout = await world.rollout()

        assert rollout.state is (meant if decided else before.state)
        assert rollout.is_settled
        assert len(await world.champions()) == 1
        assert await world.routes.staged_table("churn") is None
        assert {entry.action for entry in await world.store.audit()} == {
            f"rollout.{change.state.name.lower()}" for change in rollout.transitions
        }
        if survived:
            break
    assert survived
    assert life >= 5


async def test_a_pass_that_is_killed_anywhere_on_a_whole_way_leaves_nothing_behind(new_world, new_candidate):
    """Every pass is killed at its second write: the way takes longer, and ends where it would."""
    world = new_world(new_candidate(noise=0.05))
    await world.begin()
    for _ in range(200):
        await world.traffic(400)
        mortal = Mortal(2, late=True)
        live = world.live(
            store=mortal.wrap(world.store), routes=mortal.wrap(world.routes), registry=mortal.wrap(world.registry)
        )
        with contextlib.suppress(Killed):
            await world.pass_by(live, 10.0)
        if (await world.rollout()).state is RolloutState.PROMOTED:
            break
    await world.pass_by()

    assert (await world.rollout()).state is RolloutState.PROMOTED
    assert await world.champions() == {"2"}


class Unhurried:
    """A port that lets other tasks go first, a random number of times."""

    def __init__(self, port: Any, chance: random.Random) -> None:
        self._port, self._chance = port, chance

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._port, name)

        async def call(*values: Any) -> Any:
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)
            return await verb(*values)

        return call


@pytest.mark.parametrize("seed", range(3))
async def test_two_supervisors_at_once_do_no_harm(new_world, new_candidate, seed):
    world, chance = new_world(new_candidate(noise=0.05), seed=seed), random.Random(seed)
    await world.begin()
    lives = [world.live(store=Unhurried(world.store, chance), routes=Unhurried(world.routes, chance)) for _ in range(2)]
    for _ in range(60):
        await world.traffic(400)
        world.clock.advance(10.0)
        await world.beat()
        await asyncio.gather(*map(supervise, lives))
        rollout = await world.rollout()
        if not rollout.state.is_active:
            break
    await world.pass_by()

    assert len(rollout.transitions) == 5
    assert rollout.state is RolloutState.PROMOTED
    assert await world.champions() == {"2"}


async def test_a_writer_that_is_late_puts_right_the_alias_that_it_moved(world):
    await decide_all(world)
    await world.decide(promote)

    class Late:
        """A registry that moves an alias only after somebody else has rolled back."""

        slow = True

        def __getattr__(self, name: str) -> Any:
            return getattr(world.registry, name)

        def set_alias(self, *values: str) -> None:
            if self.slow:
                self.slow = False
                asyncio.run(self.roll_back())
            world.registry.set_alias(*values)

        async def roll_back(self) -> None:
            await world.decide(rollback)
            await follow("r1", world.live())

    rollout = await follow("r1", world.live(registry=Late()))

    assert rollout.state is RolloutState.ROLLED_BACK
    assert await world.champions() == {"1"}
    assert (await world.pass_by()).done == ()
