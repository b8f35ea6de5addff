"""A request that is repeated under its idempotency key is done once, whoever died or did not answer in between."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.domain.idempotency import KeyRules
from optagent.domain.model_report import ModelReport
from optagent.errors import Unavailable
from serve_app.api import idempotency
from serve_app.api.idempotency import MAX_ANSWER_BYTES, RULES
from serve_app.control import LazyAgent, VerbServer
from serve_app.remote_agent import RemoteAgent
from tests.fakes.idempotency import InMemoryKeptAnswers
from tests.fakes.tokens import InMemoryTokens

SEARCH = "/optimization/hyperparameter"
KEY = {"Idempotency-Key": "night-run-7"}


class Pending:
    """The answer of a call by a Serve handle."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def __await__(self) -> Any:
        return self._task.__await__()

    def cancel(self) -> None:
        self._task.cancel()


class ControlHandle:
    """A Serve handle of a Control in this process; `is_late` lets its answers come after the limit of its caller."""

    def __init__(self, agent: OptimizationAgent) -> None:
        async def recipe() -> OptimizationAgent:
            return agent

        self._server = VerbServer(LazyAgent(recipe))
        self.is_late = False
        self.call = self

    def remote(self, *arguments: Any) -> Pending:
        return Pending(asyncio.ensure_future(self._answer(*arguments)))

    async def _answer(self, *arguments: Any) -> Any:
        outcome = await self._server.call(*arguments)
        if self.is_late and arguments[0] != "model":
            await asyncio.sleep(60)
        return outcome


@pytest.fixture
def control(api: FastAPI, agent: OptimizationAgent) -> ControlHandle:
    """Control behind the API; its limit is short."""
    handle = ControlHandle(agent)
    context = api.state.context
    remote_agent = RemoteAgent(handle, limit_s=0.5)
    object.__setattr__(context, "agent", remote_agent)
    return handle


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.remote_agent._LONGER_S", {})


Repeat = Callable[..., Awaitable[Any]]


@pytest.fixture
def repeat(call: Any, control: ControlHandle) -> Repeat:
    """Sends a request whose answer comes too late, and the same again."""

    async def send_twice(scope: str, path: str, body: dict[str, Any], code: int) -> Any:
        control.is_late = True
        late = await call(scope, "POST", path, json=body, headers=KEY)
        assert late.status_code == 503, late.text
        control.is_late = False
        again = await call(scope, "POST", path, json=body, headers=KEY)
        assert again.status_code == code, again.text
        assert "idempotent-replayed" not in again.headers
        return again.json()

    return send_twice


async def test_a_process_is_queued_once(repeat: Repeat, churn_id: str, store: InMemoryStore) -> None:
    answer = await repeat("operate", SEARCH, {"model_id": churn_id}, 202)
    [process] = await store.processes()
    assert answer["process_id"] == process.process_id
    entries = [entry for entry in await store.audit() if entry.action == "process.submit"]
    assert {entry.detail["process_id"] for entry in entries} == {process.process_id}
    assert all(entry.actor.startswith("operate (") and entry.request_id for entry in entries)


async def test_the_processes_of_a_batch_are_queued_once_each(
    call: Any, control: ControlHandle, churn_id: str, store: InMemoryStore
) -> None:
    body = {"requests": [{"model_id": churn_id, "seed": seed} for seed in (1, 1, 2)]}
    control.is_late = True
    late = await call("operate", "POST", "/optimization/batch", json=body, headers=KEY)
    assert [item["problem"]["status"] for item in late.json()["items"]] == [503, 503, 503]
    control.is_late = False
    again = await call("operate", "POST", "/optimization/batch", json=body, headers=KEY)
    ids = {item["submitted"]["process_id"] for item in again.json()["items"]}
    assert ids == {process.process_id for process in await store.processes()}
    assert len(ids) == 3


async def test_a_batch_of_which_a_part_failed_goes_on_under_its_key(
    call: Any, agent: OptimizationAgent, churn_id: str, store: InMemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, calls = agent.submit, iter([False, True, False])

    async def submit_unless_away(command: Any) -> Any:
        if next(calls, False):
            raise Unavailable("Redis does not answer")
        return await submit(command)

    monkeypatch.setattr(agent, "submit", submit_unless_away)
    body = {"requests": [{"model_id": churn_id, "seed": seed} for seed in range(3)]}
    first = await call("operate", "POST", "/optimization/batch", json=body, headers=KEY)
    assert [item["problem"] is None for item in first.json()["items"]] == [True, False, True]
    again = await call("operate", "POST", "/optimization/batch", json=body, headers=KEY)
    assert [item["problem"] for item in again.json()["items"]] == [None, None, None]
    third = await call("operate", "POST", "/optimization/batch", json=body, headers=KEY)
    assert third.headers["idempotent-replayed"] == "true"
    assert len(await store.processes()) == 3


async def test_a_token_is_made_once_and_its_text_is_shown_to_nobody_twice(
    repeat: Repeat, tokens: InMemoryTokens
) -> None:
    answer = await repeat("admin", "/tokens", {"name": "ci", "scopes": ["read"]}, 201)
    [token] = [token for token in await tokens.tokens() if token.name == "ci"]
    assert (answer["text"], answer["token"]["token_id"]) == (None, token.token_id)


async def test_a_model_is_registered_once_and_is_not_in_its_own_way(
    repeat: Repeat, churn: dict[str, Any], store: InMemoryStore
) -> None:
    assert (await repeat("admin", "/models", churn, 201))["model_id"] == "churn"
    assert len(await store.models()) == 1


async def test_a_rollout_is_started_once(repeat: Repeat, rivals: str, store: InMemoryStore) -> None:
    answer = await repeat("operate", f"/models/{rivals}/rollout", {"candidate": "2"}, 201)
    [rollout] = await store.rollouts()
    assert answer["rollout_id"] == rollout.rollout_id


async def test_a_promotion_is_not_repeated_as_the_end_of_the_baking(
    call: Any, repeat: Repeat, rivals: str, agent: OptimizationAgent
) -> None:
    await agent.start_rollout(rivals, "2")
    answer = await repeat("operate", f"/models/{rivals}/rollout/promote", {"why": "it is better"}, 200)
    assert answer["state"] == "baking"
    promoted = await call("operate", "POST", f"/models/{rivals}/rollout/promote", headers={"Idempotency-Key": "2"})
    assert promoted.json()["state"] == "promoted"


@pytest.mark.parametrize("verb", ["abort", "rollback"])
async def test_an_end_by_hand_that_is_repeated_is_no_conflict(
    repeat: Repeat, rivals: str, agent: OptimizationAgent, verb: str
) -> None:
    await agent.start_rollout(rivals, "2")
    if verb == "rollback":
        await agent.promote_rollout(rivals)
    answer = await repeat("operate", f"/models/{rivals}/rollout/{verb}", {}, 200)
    assert answer["state"] in ("aborted", "rolled back")


async def test_a_key_whose_outcome_is_not_known_stays_with_its_request(
    call: Any, control: ControlHandle, churn_id: str
) -> None:
    control.is_late = True
    assert (await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)).status_code == 503
    other = await call("operate", "POST", SEARCH, json={"model_id": churn_id, "seed": 1}, headers=KEY)
    assert other.status_code == 422
    assert "another request" in other.json()["detail"]


async def test_a_gateway_that_dies_before_its_answer_is_kept_leaves_one_process(
    call: Any,
    api: FastAPI,
    churn_id: str,
    clock: ManualClock,
    store: InMemoryStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def lose(*_: Any) -> None: ...

    kept_answers = api.state.context.idempotency._store
    with monkeypatch.context() as dying:
        dying.setattr(kept_answers, "keep", lose)
        first = await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)
    clock.advance(RULES.held_s + 1)
    again = await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=KEY)
    assert (again.status_code, again.json()) == (202, first.json())
    assert len(await store.processes()) == 1


class Gate:
    """Lets the calls of one verb wait; counts them."""

    def __init__(self, agent: OptimizationAgent, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self.may_go_on = 0, asyncio.Event()
        call = getattr(agent, verb)

        async def call_later(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            await self.may_go_on.wait()
            return await call(*arguments, **keywords)

        monkeypatch.setattr(agent, verb, call_later)

    async def until_called(self) -> None:
        async with asyncio.timeout(30):
            while not self.calls:
                await asyncio.sleep(0.001)


@pytest.fixture
def submitting(agent: OptimizationAgent, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(agent, "submit", monkeypatch)


async def test_a_request_of_five_minutes_holds_its_key(
    call: Any, churn_id: str, clock: ManualClock, submitting: Gate
) -> None:
    body = {"model_id": churn_id}
    first = asyncio.create_task(call("operate", "POST", SEARCH, json=body, headers=KEY))
    await submitting.until_called()
    for _ in range(10):
        clock.advance(RULES.held_s / 2)
        for _ in range(10):
            await asyncio.sleep(0)
        assert (await call("operate", "POST", SEARCH, json=body, headers=KEY)).status_code == 409
    submitting.may_go_on.set()
    assert ((await first).status_code, submitting.calls) == (202, 1)


async def test_a_request_whose_client_hangs_up_is_answered_when_it_is_repeated(
    call: Any, api: FastAPI, churn_id: str, submitting: Gate
) -> None:
    body = {"model_id": churn_id}
    first = asyncio.create_task(call("operate", "POST", SEARCH, json=body, headers=KEY))
    await submitting.until_called()
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    submitting.may_go_on.set()
    await api.state.context.idempotency.close()
    again = await call("operate", "POST", SEARCH, json=body, headers=KEY)
    assert (again.status_code, again.headers["idempotent-replayed"], submitting.calls) == (202, "true", 1)


async def test_nothing_is_kept_for_what_changes_nothing(
    call: Any, api: FastAPI, agent: OptimizationAgent, churn_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def analyze(**_: Any) -> ModelReport:
        return ModelReport(model_id=churn_id)

    monkeypatch.setattr(agent, "analyze_model", analyze)
    for _ in range(2):
        answer = await call("operate", "POST", "/optimization/analyze", json={"model_id": churn_id}, headers=KEY)
        assert (answer.status_code, "idempotent-replayed" in answer.headers) == (200, False)
    kept_answers: InMemoryKeptAnswers = api.state.context.idempotency._store
    assert not kept_answers._kept


async def test_an_answer_too_large_to_be_kept_is_told_where_to_find(
    call: Any, api: FastAPI, churn: dict[str, Any], store: InMemoryStore
) -> None:
    body = {**churn, "ignore": ["value", *(f"column {number:06d}" for number in range(3000))]}
    first = await call("admin", "POST", "/models", json=body, headers=KEY)
    assert first.status_code == 201, first.text
    assert len(first.content) > MAX_ANSWER_BYTES
    again = await call("admin", "POST", "/models", json=body, headers=KEY)
    assert again.status_code == 409
    assert "was done and answered with 201" in again.json()["detail"]
    assert "/api/v1/models/churn" in again.json()["detail"]
    kept_answers: InMemoryKeptAnswers = api.state.context.idempotency._store
    [kept] = kept_answers._kept.values()
    assert len(kept.claim.answer or b"") < 1000


async def test_the_keys_of_a_token_are_bounded(
    call: Any, churn_id: str, monkeypatch: pytest.MonkeyPatch, store: InMemoryStore
) -> None:
    monkeypatch.setattr(idempotency, "RULES", KeyRules(60, 86_400, most_keys=3))
    codes = []
    for number in range(5):
        headers = {"Idempotency-Key": f"key {number}"}
        codes.append((await call("operate", "POST", SEARCH, json={"model_id": churn_id}, headers=headers)).status_code)
    assert codes == [202, 202, 202, 429, 429]
    assert len(await store.processes()) == 3
