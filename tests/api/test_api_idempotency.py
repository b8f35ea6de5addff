"""Idempotency keys: the same request under the same key is done once."""

import asyncio
from typing import Any

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.agent import OptimizationAgent
from optagent.errors import Busy, Unavailable

SEARCH = "/optimization/hyperparameter"
KEY = {"Idempotency-Key": "night-run-7"}


async def searches(call) -> int:
    return len((await call("read", "GET", "/optimization/processes")).json()["processes"])


async def test_the_same_request_again_is_answered_alike_and_done_once(call, churn_id: str):
    first = await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)
    again = await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert await searches(call) == 1


async def test_another_request_under_the_key_is_422(call, churn_id: str):
    await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)
    other_body = await call("operate", "POST", SEARCH, json={"model_id": churn_id, "seed": 1}, headers=KEY)
    assert other_body.status_code == 422
    elsewhere = await call("operate", "POST", "/optimization/features", json={"model_id": churn_id}, headers=KEY)
    assert elsewhere.status_code == 422
    assert await searches(call) == 1


async def test_keys_are_each_tokens_own_and_last_a_day(call, churn_id: str, clock: ManualClock):
    for scope in ("operate", "admin"):
        assert (await call(scope, "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)).status_code == 202
    assert await searches(call) == 2
    clock.advance(86_401)
    await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)
    assert await searches(call) == 3


async def test_while_a_request_is_under_way_the_same_is_409(agent: OptimizationAgent, call, churn_id: str):
    submit, go = agent.submit, asyncio.Event()

    async def slow(command: Any) -> Any:
        await go.wait()
        return await submit(command)

    agent.submit = slow  # type: ignore[method-assign]
    first = asyncio.create_task(call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY))
    await asyncio.sleep(0.01)
    second = await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)
    assert second.status_code == 409
    go.set()
    assert (await first).status_code == 202
    assert await searches(call) == 1


@pytest.mark.parametrize("error", [Unavailable("Redis is away"), Busy("10 wait"), RuntimeError("a mistake")])
async def test_what_failed_may_be_tried_again_with_the_same_key(
    agent: OptimizationAgent, call, churn_id: str, error: Exception
):
    submit = agent.submit

    async def fails(command: Any) -> Any:
        raise error

    agent.submit = fails  # type: ignore[method-assign]
    assert (await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)).status_code >= 429
    agent.submit = submit  # type: ignore[method-assign]
    assert (await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)).status_code == 202


async def test_what_was_refused_may_be_put_right_under_the_same_key(call, churn_id: str):
    assert (await call("operate", "POST", SEARCH, json={"model_id": "nobody"}, headers=KEY)).status_code == 404
    assert (await call("operate", "POST", SEARCH, json={"max_trials": 0}, headers=KEY)).status_code == 422
    assert (await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "ü".encode()])
async def test_a_key_that_is_none_is_422(call, churn_id: str, key: Any):
    answer = await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]


async def test_the_text_of_a_token_is_not_kept_for_the_second_answer(call):
    body = {"name": "ci", "scopes": ["read"]}
    first = await call("admin", "POST", "/tokens", json=body, headers=KEY)
    again = await call("admin", "POST", "/tokens", json=body, headers=KEY)
    assert first.json()["text"].startswith("oa_")
    assert again.json() == {**first.json(), "text": None}
