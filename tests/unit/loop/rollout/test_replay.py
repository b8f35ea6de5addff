"""Rollout replay: a stored rollout is decided the same again, and one that was altered is not."""

import math
from dataclasses import replace

import pytest

from optagent.codec import decode, encode
from optagent.domain.gate import Verdict
from optagent.domain.rollout import Rollout, abort, advance, begin, promote, rollback
from optagent.domain.rollout_look import GuardrailReading, Look, RolloutState, SampleRatio
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.study import Interval
from optagent.loop.rollout.replay import replay_rollout

POLICY = RolloutPolicy(margin=0.01, ramp_margin=0.05, min_rows=1_000, horizon_rows=20_000, baking_s=600.0)
ALPHAS = {
    RolloutState.SHADOW: POLICY.shadow_alpha,
    RolloutState.RAMP: POLICY.ramp_alpha,
    RolloutState.BAKING: POLICY.baking_alpha,
}
HEALTHY = tuple(GuardrailReading(name, limit, 500, 0.0, 1.0) for name, limit in POLICY.guardrails.items())


def look(rollout: Rollout, at: float, low: float = 0.1, high: float = 0.2, **changes: object) -> Look:
    whole = Look(
        f"look-{len(rollout.looks) + 1}",
        at,
        rollout.state,
        rollout.step,
        2_000,
        2_000,
        Interval((low + high) / 2, low, high, ALPHAS[rollout.state]),
        HEALTHY,
        SampleRatio(2_000, 0.05, 0.0512345678, 0.5) if rollout.state is RolloutState.RAMP else None,
    )
    return replace(whole, **changes)


def start_rollout() -> Rollout:
    return begin("r1", "churn", "3", "4", POLICY, 100.0, "ana")


def take_look(rollout: Rollout, at: float, **changes: object) -> Rollout:
    return advance(rollout, look(rollout, at, **changes), at)


def take_unproved_look(rollout: Rollout, at: float) -> Rollout:
    return take_look(rollout, at, low=-0.3, high=0.4)


def promote_by_looks() -> Rollout:
    """By looks alone, each other of which proves nothing."""
    rollout = start_rollout()
    while rollout.state is not RolloutState.PROMOTED:
        act = take_look if len(rollout.looks) % 2 else take_unproved_look
        rollout = act(rollout, 100.0 + 250.1 * (len(rollout.looks) + 1))
    return rollout


def led_by_people() -> Rollout:
    """Unproved in shadow; promoted by hand; looks while baking, one of them late; kept by hand; rolled back."""
    rollout = take_unproved_look(take_unproved_look(start_rollout(), 110.0), 120.0)
    late = look(rollout, 119.0, look_id="late")
    rollout = advance(promote(rollout, "ana", "sure", 120.0), late, 120.0)
    rollout = take_look(rollout, 120.0)
    return rollback(promote(rollout, "bo", "enough", 120.0), "cy", "not so good", 119.5)


def gone_wrong() -> Rollout:
    return take_look(
        take_unproved_look(start_rollout(), 110.0),
        120.0,
        guardrails=(replace(HEALTHY[0], e_value=math.inf), HEALTHY[1]),
    )


KINDS = {
    "just started": start_rollout,
    "promoted": promote_by_looks,
    "led by people": led_by_people,
    "gone wrong": gone_wrong,
    "aborted": lambda: abort(take_unproved_look(start_rollout(), 110.0), "ana", "no", 115.0),
    "out of patience": lambda: take_unproved_look(start_rollout(), 100.0 + 15 * 86_400.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_comes_out_the_same(kind: str):
    stored = decode(Rollout, encode(replace(KINDS[kind](), settled=1)))
    replay = replay_rollout(stored)
    assert replay.difference is None
    assert replay.is_same
    assert replay.is_ordered
    assert (replay.looks, replay.transitions) == (len(stored.looks), len(stored.transitions))


async def test_what_the_loop_has_decided_comes_out_the_same(new_world, new_candidate):
    world = new_world(new_candidate(noise=0.05))
    await world.begin()
    rollout = await world.run(passes=60, rows=400)
    assert rollout.state is RolloutState.PROMOTED
    assert replay_rollout(rollout).is_same


def with_look(rollout: Rollout, number: int, **changes: object) -> Rollout:
    looks = list(rollout.looks)
    looks[number - 1] = replace(looks[number - 1], **changes)
    return replace(rollout, looks=tuple(looks))


def with_transition(rollout: Rollout, number: int, **changes: object) -> Rollout:
    changes_made = list(rollout.transitions)
    changes_made[number - 1] = replace(changes_made[number - 1], **changes)
    return replace(rollout, transitions=tuple(changes_made))


def with_statistic(rollout: Rollout, number: int, low: float) -> Rollout:
    taken_look = rollout.looks[number - 1].look
    return with_look(rollout, number, look=replace(taken_look, improvement=replace(taken_look.improvement, low=low)))


ALTERED = {
    "a reason": (with_transition(promote_by_looks(), 2, reason="because"), "transition 2: reason"),
    "a step": (with_transition(promote_by_looks(), 3, step=2), "transition 3: step"),
    "a time": (with_transition(promote_by_looks(), 1, at=99.0), "transition 1: at"),
    "a state": (with_transition(promote_by_looks(), 2, state=RolloutState.BAKING), "transition 2: state"),
    "a verdict": (with_look(promote_by_looks(), 3, verdict=Verdict.FAIL), "look 3: verdict"),
    "the reason of a verdict": (with_look(promote_by_looks(), 3, reason="proved"), "look 3: reason"),
    "a statistic": (with_statistic(promote_by_looks(), 2, low=0.1234), "look 2: reason"),
    "a statistic that would have proved it": (with_statistic(promote_by_looks(), 1, low=0.0), "look 1: verdict"),
    "a statistic that would not": (with_statistic(promote_by_looks(), 2, low=-0.02), "look 2: verdict"),
    "the time of a judgment": (with_look(promote_by_looks(), 8, at=1900.0), "look 8: verdict"),
    "the outcome": (replace(promote_by_looks(), state=RolloutState.BAKING), "rollout: state"),
    "its time": (replace(promote_by_looks(), changed_at=1.0), "rollout: changed_at"),
    "the rules": (replace(promote_by_looks(), policy=replace(POLICY, margin=0.5)), "look 1: verdict"),
    "a transition less": (replace(promote_by_looks(), transitions=promote_by_looks().transitions[:-1]), "transition 6"),
    "no transitions": (replace(promote_by_looks(), transitions=()), "transition 1"),
    "the last look less": (replace(promote_by_looks(), looks=promote_by_looks().looks[:-1]), "transition 6"),
    "the first look less": (replace(promote_by_looks(), looks=promote_by_looks().looks[1:]), "transition 2: looks"),
    "an act": (with_transition(led_by_people(), 2, state=RolloutState.ABORTED), "look 3"),
    "an act that nobody has": (with_transition(led_by_people(), 2, state=RolloutState.RAMP), "transition 2"),
    "the place of an act": (with_transition(led_by_people(), 2, looks=1), "look 2: reason"),
}


@pytest.mark.parametrize("what", ALTERED)
def test_what_was_altered_is_named(what: str):
    rollout, where = ALTERED[what]
    difference = replay_rollout(rollout).difference
    assert difference is not None
    assert difference.where == where
    assert str(difference).startswith(where)


def test_an_act_that_the_rules_do_not_let_pass_is_named_with_the_rule():
    stored = led_by_people()
    altered = with_transition(stored, 3, state=RolloutState.ABORTED)
    difference = replay_rollout(altered).difference
    assert (difference.where, difference.stored) == ("transition 3", "taken")
    assert "it can be rolled back, not aborted" in difference.replayed


def as_older_versions_wrote(rollout: Rollout) -> Rollout:
    looks = tuple(replace(judged, at=None) for judged in rollout.looks)
    return replace(
        rollout, looks=looks, transitions=tuple(replace(change, looks=None) for change in rollout.transitions)
    )


def test_what_older_versions_wrote_is_ordered_by_its_times():
    rollout = take_unproved_look(promote(take_unproved_look(start_rollout(), 110.0), "ana", "sure", 115.0), 120.0)
    rollout = rollback(take_look(rollout, 130.0), "bo", "no", 131.0)
    for stored in (promote_by_looks(), rollout, gone_wrong()):
        replay = replay_rollout(as_older_versions_wrote(stored))
        assert replay.difference is None
        assert not replay.is_ordered
