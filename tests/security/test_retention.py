"""Nothing grows for ever: what is old goes with an entry in the audit log, and what is still needed stays."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent.acts import current_actor
from optagent.cli import app
from optagent.cli import retention as commands
from optagent.domain.process import Process, Status
from optagent.domain.retention import DAY_S, RetentionRules
from optagent.domain.rollout import abort, begin
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.errors import InvalidRequest, ModelNotFound, NotFound, Unavailable
from optagent.loop.observe.inputs import LOGGED
from optagent.ports import RecordKind

MANY_DAYS = 400 * DAY_S


@pytest.fixture
async def world(agent: Any, churn: dict[str, Any]) -> Any:
    """An agent with a model, whose clock is that of the recorder."""
    agent._strict = True
    await agent.register_model(churn)
    agent._ports.clock.advance(time.time() - agent._ports.clock.now())
    return agent


def rows(*ids: str) -> pa.Table:
    times = pa.array(np.full(len(ids), 1_700_000_000_000_000)).cast(pa.timestamp("us", "UTC"))
    return pa.table({"id": pa.array(ids, pa.large_string()), "time": times})


def record(agent: Any, *ids: str) -> None:
    for kind in RecordKind:
        agent._ports.observations.record("churn", kind, rows(*ids))
    agent._ports.observations.drain("churn")


async def end_process(agent: Any, name: str) -> None:
    now = agent._ports.clock.now()
    process = Process(name, "tune", "churn", Status.PENDING, now, now)
    await agent._ports.store.create_process(process, 60)
    await agent._ports.store.save_process(replace(process, status=Status.SUCCEEDED))


async def end_rollout(agent: Any, name: str) -> None:
    now = agent._ports.clock.now()
    rollout = begin(name, "churn", "1", "2", RolloutPolicy(), now, "ana")
    await agent._ports.store.create_rollout(rollout)
    ended = abort(rollout, "ana", "", now)
    await agent._ports.store.save_rollout(replace(ended, settled=len(ended.transitions)), rollout)
    agent._ports.clock.advance(1)


async def entries(agent: Any, action: str) -> list[Any]:
    return [entry for entry in await agent.audit() if entry.action == action]


async def test_what_is_old_goes_and_the_log_says_how_much(world):
    record(world, "a", "b")
    await end_process(world, "old")
    await end_rollout(world, "r-old")
    await end_rollout(world, "r-new")
    assert [pruning.is_empty for pruning in await world.prune()] == [True]
    assert await entries(world, "retention.pruned") == []
    world._ports.clock.advance(MANY_DAYS)
    (would,) = await world.prune(dry_run=True)
    assert (await world.processes("churn"))[0].process_id == "old"
    (pruning,) = await world.prune()
    assert replace(would, dry_run=False) == pruning
    assert pruning.rows == {"predictions": 2, "labels": 2, "evidence": 2, "learned": 2}
    assert (pruning.plan.processes, pruning.plan.rollouts) == (("old",), ("r-old",))
    assert await world.processes("churn") == []
    assert [rollout.rollout_id for rollout in await world.rollouts("churn")] == ["r-new"]
    (entry,) = await entries(world, "retention.pruned")
    assert (entry.actor, entry.target, entry.outcome) == (str(current_actor()), "churn", "done")
    assert (entry.detail["rows"], entry.detail["processes"]) == (dict(pruning.rows), 1)
    assert (await world.verify_audit()).is_whole


async def test_a_replay_of_a_rollout_that_was_pruned_says_on_which_day(world):
    await end_rollout(world, "r-old")
    await end_rollout(world, "r-new")
    world._ports.clock.advance(MANY_DAYS)
    await world.prune()
    day = time.strftime("%Y-%m-%d", time.gmtime(world._ports.clock.now()))
    with pytest.raises(NotFound, match=f"'r-old' was pruned on {day}"):
        await world.replay_decision("r-old")


async def test_one_prunes_once_a_day_whoever_asks(world):
    world._ports.clock.advance(MANY_DAYS)
    assert len(await world.prune_once_a_day()) == 1
    assert await world.prune_once_a_day() == ()
    world._ports.clock.advance(DAY_S)
    assert len(await world.prune_once_a_day()) == 1


async def test_a_model_that_cannot_be_pruned_is_reported_and_the_others_are_pruned(world, churn, monkeypatch):
    await world.register_model({**churn, "id": "another"})
    world._ports.observations.record("churn", RecordKind.PREDICTIONS, rows("a"))
    world._ports.observations.drain("churn")
    versions = world._ports.registry.versions

    def refuse_one(model_id: str) -> Any:
        if model_id == "another":
            raise Unavailable("no registry")
        return versions(model_id)

    monkeypatch.setattr(world._ports.registry, "versions", refuse_one)
    world._ports.clock.advance(MANY_DAYS)
    first, second = await world.prune()
    assert (first.plan.model_id, first.error) == ("another", "no registry")
    assert second.rows == {"predictions": 1}
    assert {entry.outcome for entry in await entries(world, "retention.pruned")} == {"done", "no registry"}


async def test_a_store_that_takes_no_claim_is_pruned_all_the_same(world, monkeypatch):
    async def refuse(self: Any, key: str, kept_s: float) -> bool:
        raise Unavailable("full")

    monkeypatch.setattr(InMemoryStore, "claim_once", refuse)
    assert len(await world.prune_once_a_day()) == 1


async def test_erased_rows_are_gone_and_the_log_has_their_number_and_digest_but_no_id(world):
    record(world, "ana-1", "bob-2")
    erased = await world.erase("churn", ["bob-2", "ana-1", "ana-1", "nobody"])
    assert erased == {"predictions": 2, "labels": 2, "evidence": 2, "learned": 2}
    assert await world.erase("churn", ["ana-1"]) == {}
    newest, entry = await entries(world, "retention.erased")
    assert newest.detail["rows"] == {}
    digest = hashlib.sha256(b"ana-1\nbob-2\nnobody").hexdigest()
    assert entry.detail == {"ids": 3, "ids_sha256": digest, "rows": erased}
    assert "bob-2" not in str(entry)
    assert (await world.verify_audit()).is_whole


async def test_an_erasure_without_ids_or_of_no_model_is_refused(world):
    with pytest.raises(InvalidRequest, match="at least one"):
        await world.erase("churn", [])
    with pytest.raises(InvalidRequest, match="none may be empty"):
        await world.erase("churn", ["a", ""])
    with pytest.raises(ModelNotFound):
        await world.erase("unknown", ["a"])


async def test_references_go_with_their_versions_only(world):
    world._ports.observations.save_reference("churn", LOGGED, b"reference")
    world._ports.clock.advance(MANY_DAYS)
    await world.prune()
    assert world._ports.observations.reference("churn", LOGGED) == b"reference"


def test_the_command_line_prunes_and_erases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[Any] = []

    class Agent:
        async def prune(self, dry_run: bool) -> tuple[Any, ...]:
            calls.append(dry_run)
            return ()

        async def erase(self, model_id: str, ids: list[str]) -> dict[str, int]:
            calls.append((model_id, ids))
            return {"labels": 2}

    def with_agent(verb: Any) -> Any:
        import asyncio

        return asyncio.run(verb(Agent()))

    monkeypatch.setattr(commands, "with_agent", with_agent)
    (tmp_path / "ids.txt").write_text("b\n\nc\n")
    run = CliRunner().invoke
    assert run(app, ["prune", "--dry-run", "--json"]).stdout == "[]\n"
    answer = run(app, ["erase", "churn", "a", "--ids", str(tmp_path / "ids.txt")])
    assert answer.stdout == "churn: 2 labels of 3 ids are gone\n"
    assert calls == [True, ("churn", ["a", "b", "c"])]


def test_the_defaults_keep_a_year_of_rows_and_all_training_rows():
    rules = RetentionRules()
    assert (rules.observations_s, rules.training_rows_s, rules.versions) == (365 * DAY_S, None, 100)
