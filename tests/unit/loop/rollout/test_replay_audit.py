"""Audit comparison: the audit log protects the transitions, rules and looks of a rollout in the store."""

from dataclasses import replace
from typing import Any

import pytest

from optagent.domain.audit import AuditLink, canonical_json, link_entry, next_link
from optagent.domain.rollout import Rollout
from optagent.domain.rollout_look import RolloutState
from optagent.loop.rollout import reconcile
from optagent.loop.rollout.replay import replay_rollout
from optagent.loop.rollout.replay_audit import differs_from_log


@pytest.fixture
async def promoted_rollout(new_world: Any, new_candidate: Any) -> tuple[Rollout, list[AuditLink]]:
    """A rollout that looks alone have promoted, and the log of it."""
    world = new_world(new_candidate(noise=0.05))
    await world.begin()
    rollout = await world.run(passes=60, rows=400)
    assert (rollout.state, rollout.is_settled) == (RolloutState.PROMOTED, True)
    return rollout, list((await world.store.audit_links()).links)


def with_look(rollout: Rollout, number: int, **changes: Any) -> Rollout:
    looks = list(rollout.looks)
    looks[number - 1] = replace(looks[number - 1], look=replace(looks[number - 1].look, **changes))
    return replace(rollout, looks=tuple(looks))


async def test_what_was_logged_is_what_is_kept_also_where_an_entry_stands_twice(promoted_rollout):
    rollout, links = promoted_rollout
    assert len(links) == len(rollout.transitions)
    assert differs_from_log(rollout, links) is None
    assert differs_from_log(rollout, [*links, *links]) is None
    assert differs_from_log(replace(rollout, settled=2), links[:2]) is None


async def test_an_altered_look_is_found_also_where_it_decides_the_same(promoted_rollout):
    rollout, links = promoted_rollout
    altered = with_look(rollout, 1, notes=("altered",))
    assert replay_rollout(altered).is_same
    assert (
        differs_from_log(altered, links).where
        == f"transition 2: evidence, in link {links[1].sequence} of the audit log"
    )
    last = len(rollout.looks)
    assert differs_from_log(with_look(rollout, last, notes=("altered",)), links).where.startswith(
        f"transition {len(rollout.transitions)}: evidence"
    )


async def test_a_reason_beyond_the_limits_of_an_entry_is_compared_by_its_digest(promoted_rollout):
    rollout, links = promoted_rollout
    long_reason = replace(rollout.transitions[-1], reason="x" * 10_000)
    own = replace(rollout, transitions=(*rollout.transitions[:-1], long_reason))
    logged = reconcile.audit_entry(own, long_reason)
    assert logged.detail["step"] == long_reason.step
    assert differs_from_log(own, [*links[:-1], link_entry(links[-2].point, logged)]) is None
    unbounded = replace(logged, detail={**logged.detail, "reason": "x" * 10_000})  # as an earlier version wrote it
    text = canonical_json(unbounded)
    assert differs_from_log(own, [*links[:-1], next_link(links[-2].point, text)]) is None
    other = next_link(links[-2].point, text.replace("xxx", "xyx", 1))
    assert differs_from_log(own, [*links[:-1], other]).where.startswith(f"transition {len(links)}: reason")


async def test_altered_rules_are_found_where_they_would_have_decided_the_same(promoted_rollout):
    rollout, links = promoted_rollout
    altered = replace(rollout, policy=replace(rollout.policy, max_duration_s=rollout.policy.max_duration_s + 1))
    assert replay_rollout(altered).is_same
    assert "evidence" in differs_from_log(altered, links).where


@pytest.mark.parametrize(("name", "value"), [("by", "mallory"), ("reason", "because"), ("at", 1.0), ("look_id", None)])
async def test_an_altered_transition_is_found(promoted_rollout, name, value):
    rollout, links = promoted_rollout
    changes = list(rollout.transitions)
    changes[2] = replace(changes[2], **{name: value})
    difference = differs_from_log(replace(rollout, transitions=tuple(changes)), links)
    assert difference.where == f"transition 3: {name}, in link {links[2].sequence} of the audit log"


async def test_what_is_missing_in_a_log_is_told_unless_the_log_was_trimmed(promoted_rollout):
    rollout, links = promoted_rollout
    difference = differs_from_log(rollout, links[1:])
    assert (difference.where, difference.replayed) == ("transition 1: in the audit log", "missing")
    assert differs_from_log(rollout, links[1:], is_trimmed=True) is None
    assert differs_from_log(rollout, [AuditLink(0, "no link", ""), *links[1:]]) == difference


async def test_what_another_version_wrote_is_not_compared(promoted_rollout, monkeypatch):
    rollout, links = promoted_rollout
    monkeypatch.setattr(reconcile, "shape_of", lambda kind: b"another")
    assert differs_from_log(with_look(rollout, 1, notes=("altered",)), links) is None
    older = replace(rollout, transitions=tuple(replace(change, looks=None) for change in rollout.transitions))
    assert differs_from_log(older, links) is None


async def test_evidence_that_the_version_before_logged_is_still_compared(promoted_rollout):
    rollout, links = promoted_rollout
    form = links[1].entry.detail["evidence"].split(":")[0]
    former = [replace(link, text=link.text.replace(f"{form}:", "f513f0703ee8:")) for link in links]
    assert differs_from_log(rollout, former) is None
    assert "evidence" in differs_from_log(with_look(rollout, 1, notes=("altered",)), former).where
