"""Floods and huge entries push nothing out of the audit log, and blow nothing up."""

import json
from typing import Any

import pytest

from optagent.adapters.state.redis.store import RedisStore
from optagent.agent import OptimizationAgent
from optagent.domain.audit import GENESIS, AuditEntry, next_link, parse_link
from optagent.loop import audit
from optagent.loop.refusal_log import RefusalLog
from tests.security.signed_log import ENTRY, files, open_store, server, store, verify, write_chain

__all__ = ["files", "open_store", "server", "store"]


async def test_requests_without_a_token_push_nothing_out_of_the_log(api, client, agent: OptimizationAgent):
    sums = RefusalLog(agent.record_audit)
    api.state.context.authenticator._on_refused = sums
    await agent.record_audit(ENTRY)
    for _ in range(300):
        assert (await client.get("/models")).status_code == 401
    await sums.close()
    entries = await agent.audit(1000)
    assert len(entries) <= 3
    assert entries[-1] == ENTRY
    assert sum(entry.detail.get("count", 1) for entry in entries[:-1]) == 300


async def test_failing_acts_of_a_token_push_nothing_out_of_the_log(agent: OptimizationAgent):
    await agent.record_audit(ENTRY)
    for _ in range(600):
        await agent.record_audit(AuditEntry(100.0, "ci", "model.update", "churn", "no such field"))
    await agent._acts.close()
    entries = await agent.audit(1000)
    assert len(entries) <= 13
    assert sum(entry.detail.get("count", 1) for entry in entries[:-1]) == 600


async def test_nine_megabytes_of_detail_are_a_small_link_that_identifies_them(store: RedisStore):
    changes = {"search_space": {"lightgbm": {"x" * 9_000_000: [1]}}}
    await store.append_audit(
        AuditEntry(
            1.0, "ci", "model.update", "churn", "o" * 9_000_000, "r" * 9_000_000, {"changes": changes, "step": 3}
        )
    )
    [line] = await store._link.redis.lrange(store._link.key("audit", "links"), 0, -1)
    assert len(line) < 10_000
    entry = parse_link(line.decode()).entry
    assert entry.detail["changes"]["bytes"] > 9_000_000
    assert len(entry.detail["changes"]["sha256"]) == 64
    assert entry.detail["step"] == 3
    assert entry.outcome.endswith("(9000000 characters)")
    assert (await verify(store)).is_whole


async def test_a_detail_of_a_hundred_thousand_keys_is_a_small_link(store: RedisStore):
    await store.append_audit(
        AuditEntry(1.0, "ci", "model.update", detail={f"key {number}": number for number in range(100_000)})
    )
    [entry] = await store.audit()
    assert set(entry.detail) == {"bytes", "sha256", "keys"}
    assert len(entry.detail["keys"]) == 20


async def test_an_entry_that_an_earlier_version_left_unbounded_is_listed_within_the_limits(store: RedisStore):
    text = json.dumps(
        {
            "action": "model.update",
            "actor": "ci",
            "at": 1.0,
            "detail": {"x": "y" * 1_000_000},
            "outcome": "done",
            "request_id": "",
            "target": "",
        },
        separators=(",", ":"),
    )
    await write_chain(store, [next_link(GENESIS, text)])
    [record] = await audit.newest_records(store, 10)
    assert record.detail["x"]["bytes"] == 1_000_002
    assert (await verify(store)).is_whole


@pytest.mark.parametrize(
    "changes",
    [
        {"search_space": {"lightgbm": {"learning_rate": ["x" * 30_000]}}},
        {"search_space": {"lightgbm": {f"p{number}": 1 for number in range(101)}}},
        {"search_space": {f"f{number}": {} for number in range(21)}},
        {"search_space": {"lightgbm": {"x" * 201: 1}}},
        {"policy": {"gates": {"beats_champion": "x" * 101}}},
        {"policy": {"gates": {"accuracy_min": 10**400}}},
        {"policy": {"rollout": {"ramp": [0.5] * 5000}}},
    ],
    ids=["size", "parameters", "families", "name", "gate text", "gate number", "rollout"],
)
async def test_fields_of_any_shape_are_bounded_before_anything_is_stored(
    call, churn_id: str, agent, changes: dict[str, Any]
):
    answer = await call("operate", "PATCH", f"/models/{churn_id}", json=changes)
    assert answer.status_code == 422
    assert len(answer.content) < 4000
    assert "model.update" not in {entry.action for entry in await agent.audit(1000)}
