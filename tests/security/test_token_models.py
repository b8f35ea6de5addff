"""Tokens that are limited to models: they neither see nor change nor label any other model, over any route or page."""

import ast
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

import serve_app
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.codec import decode, encode, model_from
from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.process import Process
from optagent.domain.rollout import begin
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.token import Scope, Token, digest_of
from optagent.errors import InvalidRequest
from serve_app.api.auth import Authenticator
from serve_app.api.limited_agent import OF_A_MODEL, LimitedAgent
from serve_app.api.requests import AnalyzeRequest
from serve_app.api.security import GuardedRoute
from serve_app.asgi import Application
from serve_app.data_plane.gateway import DataPlane
from tests.api.conftest import NOW
from tests.fakes.loader import InMemoryLoader
from tests.fakes.routes import InMemoryRoutes
from tests.fakes.tokens import InMemoryTokens

Ask = Callable[..., Awaitable[httpx.Response]]
DENIED = "token 'bot' is limited to churn: this is about 'delays'"
MODELS = ("churn", "delays")

# Verbs that only an admin's routes call, whose token cannot be limited, and those that the gateway calls by itself.
ADMIN_VERBS = {
    "audit",
    "audit_records",
    "create_token",
    "register_model",
    "replay_decision",
    "revoke_token",
    "score",  # no route calls it: it reads and writes files of the machine
    "tokens",
    "verify_audit",
}
OWN_VERBS = {"health"}


@pytest.fixture
async def two_models(store: InMemoryStore, churn: dict[str, Any], process: Callable[..., Process]) -> None:
    """Models, each with an alert, processes, and a rollout."""
    spec = model_from(churn)
    for place, model_id in enumerate(MODELS):
        await store.save_model(replace(spec, model_id=model_id))
        alert = Alert(f"alert-{model_id}", model_id, AlertKind.LATENCY, Severity.INFO, "slow", {}, NOW, NOW)
        await store.save_alerts([alert])
        for number in range(30):
            await store.create_process(
                process(2 * number + place, model_id=model_id, command={"model_id": model_id}), 60
            )
        await store.create_rollout(begin(f"rollout-{model_id}", model_id, "1", "2", RolloutPolicy(), NOW, "ana"))


@pytest.fixture
def ask(agent: OptimizationAgent, client: httpx.AsyncClient, two_models: None) -> Ask:
    """`await ask("operate", "GET", "/models")`, with a token of that scope that is limited to churn."""
    texts: dict[str, str] = {}

    async def send_request(scope: str, method: str, path: str, **options: Any) -> httpx.Response:
        if scope not in texts:
            texts[scope], _ = await agent.create_token("bot", [scope], models=["churn"])
        return await client.request(method, path, headers={"Authorization": f"Bearer {texts[scope]}"}, **options)

    return send_request


@pytest.fixture
async def browser(api: FastAPI, agent: OptimizationAgent, two_models: None) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that is signed in with such a token, which may operate."""
    text, _ = await agent.create_token("bot", ["operate"], models=["churn"])
    transport = httpx.ASGITransport(Application(api))
    async with httpx.AsyncClient(transport=transport, base_url="http://optagent") as client:
        assert (await client.post("/dashboard/sign-in", data={"token": text})).status_code == 303
        yield client


async def test_every_route_of_another_model_is_403_before_anything_else(api: FastAPI, ask: Ask) -> None:
    count = 0
    for route in iter_route_contexts(api.routes):
        guarded = route.original_route
        if not isinstance(guarded, GuardedRoute) or "{model_id}" not in route.path:
            continue
        scope = (guarded.openapi_extra or {})["x-scope"]
        path = route.path.replace("{model_id}", "delays").replace("{alias}", "champion")
        for method in route.methods:
            body = {} if method == "GET" else {"content": b"{not json"}
            answer = await ask(scope, method, f"http://optagent{path}", **body)
            assert (answer.status_code, answer.json()["detail"]) == (403, DENIED), path
            count += 1
    assert count >= 12


async def test_its_own_model_answers(ask: Ask) -> None:
    for path in ("/models/churn", "/models/churn/alerts", "/models/churn/rollout", "/models/churn/rollouts"):
        assert (await ask("read", "GET", path)).status_code == 200, path
    answer = await ask("operate", "PATCH", "/models/churn", json={"description": "mine"})
    assert (answer.status_code, answer.json()["description"]) == (200, "mine")


async def test_lists_are_of_its_models_only(ask: Ask) -> None:
    assert [model["model_id"] for model in (await ask("read", "GET", "/models")).json()] == ["churn"]
    assert {alert["model_id"] for alert in (await ask("read", "GET", "/alerts")).json()} == {"churn"}


async def test_its_processes_come_whole_and_page_by_page(ask: Ask) -> None:
    ids, cursor = [], None
    while True:
        parameters = {"limit": 7} | ({"cursor": cursor} if cursor else {})
        page = (await ask("read", "GET", "/optimization/processes", params=parameters)).json()
        assert {process["model_id"] for process in page["processes"]} <= {"churn"}
        ids += [process["process_id"] for process in page["processes"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert ids == [f"tune-{2 * number}" for number in reversed(range(30))]
    assert (await ask("read", "GET", "/optimization/processes?model_id=delays")).status_code == 403


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("read", "GET", "/optimization/status/tune-1"),
        ("read", "GET", "/optimization/status/tune-1/events"),
        ("operate", "POST", "/optimization/processes/tune-1/cancel"),
        ("operate", "POST", "/optimization/tune-1/cancel"),
    ],
)
async def test_a_process_of_another_model_is_403(
    ask: Ask, store: InMemoryStore, scope: str, method: str, path: str
) -> None:
    answer = await ask(scope, method, path)
    assert (answer.status_code, answer.json()["detail"]) == (403, DENIED)
    assert not (await store.process("tune-1")).status.has_ended
    assert (await ask(scope, method, path.replace("tune-1", "tune-2"))).status_code in (200, 202)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("hyperparameter", {"model_id": "delays"}),
        ("features", {"model_id": "delays"}),
        ("optimize", {"model_id": "delays"}),
        ("analyze", {"model_id": "delays"}),
        ("ensemble", {"base_models": ["churn", "delays"]}),
        ("ensemble", {"base_models": ["churn", "churn@challenger"], "model_id": "delays"}),
    ],
)
async def test_a_command_for_another_model_is_403(ask: Ask, store: InMemoryStore, path: str, body: Any) -> None:
    before = await store.processes(None, 100)
    answer = await ask("read" if path == "analyze" else "operate", "POST", f"/optimization/{path}", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (403, DENIED)
    assert await store.processes(None, 100) == before


async def test_what_another_token_has_just_asked_is_not_answered_from_memory(api: FastAPI, ask: Ask) -> None:
    everything = Token("whole", "ana", "0" * 64, (Scope.READ,), NOW)
    question = ("report", AnalyzeRequest(model_id="delays").model_dump_json())
    assert await api.state.analyses.ask(everything, question, partial(asyncio.sleep, 0, "secret")) == "secret"
    answer = await ask("read", "POST", "/optimization/analyze", json={"model_id": "delays"})
    assert (answer.status_code, answer.json()["detail"]) == (403, DENIED)


async def test_a_batch_does_what_is_for_its_models(ask: Ask) -> None:
    body = {"requests": [{"model_id": "delays"}, {"model_id": "churn"}]}
    items = (await ask("operate", "POST", "/optimization/batch", json=body)).json()["items"]
    assert items[0]["problem"]["detail"] == DENIED
    assert items[1]["submitted"] is not None


async def test_pages_show_its_models_only(browser: httpx.AsyncClient) -> None:
    for page in ("/dashboard", "/dashboard/processes"):
        answer = await browser.get(page)
        assert answer.status_code == 200
        assert "churn" in answer.text
        assert "delays" not in answer.text


@pytest.mark.parametrize(
    "path", ["/models/delays", "/models/delays/analysis", "/processes/tune-1", "/rollouts/rollout-delays"]
)
async def test_a_page_of_another_model_is_403(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(f"/dashboard{path}")
    assert answer.status_code == 403
    assert "is limited to churn" in answer.text


@pytest.mark.parametrize(
    "path", ["/models/delays/optimize", "/models/delays/rollout/start", "/models/delays/rollout/abort",
             "/models/delays/mixture/freeze", "/models/delays/mixture/champion-only",
             "/processes/tune-1/cancel"]
)  # fmt: skip
async def test_a_form_about_another_model_does_nothing(
    browser: httpx.AsyncClient, store: InMemoryStore, path: str
) -> None:
    before = await store.processes(None, 100), await store.rollouts(None, 100)
    answer = await browser.post(f"/dashboard{path}", headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 403
    assert (await store.processes(None, 100), await store.rollouts(None, 100)) == before


@pytest.mark.parametrize("verb", ["predict", "labels"])
async def test_neither_rows_nor_labels_of_another_model_are_taken(
    agent: OptimizationAgent, tokens: InMemoryTokens, clock: ManualClock, api: FastAPI, two_models: None, verb: str
) -> None:
    observations = InMemoryObservations()
    plane = DataPlane(
        InMemoryRoutes(clock),
        InMemoryLoader(agent._ports.registry),
        observations,
        Authenticator(tokens, clock, 100, 100),
        clock,
        agent.model,
        "g1",
    )
    text, _ = await agent.create_token("bot", ["predict", "label"], models=["churn"])
    transport = httpx.ASGITransport(Application(api, plane))
    async with httpx.AsyncClient(transport=transport, base_url="http://optagent/api/v1") as client:
        body = {"row": {}} if verb == "predict" else {"labels": [{"id": "p-1", "label": "yes"}]}
        headers = {"Authorization": f"Bearer {text}"}
        answer = await client.post(f"/models/delays/{verb}", json=body, headers=headers)
        assert (answer.status_code, answer.json()["detail"]) == (403, DENIED)
        answer = await client.post(f"/models/churn/{verb}", json=body, headers=headers)
        assert answer.status_code == (503 if verb == "predict" else 200)  # no table has been heard of yet


async def test_a_refusal_is_in_the_audit_log(ask: Ask, agent: OptimizationAgent) -> None:
    await ask("read", "GET", "/models/delays")
    for _ in range(5):
        await asyncio.sleep(0)  # it is written in the background
    [entry] = [entry for entry in await agent.audit(10) if entry.action == "auth.refused"]
    assert (entry.actor.partition(" (")[0], entry.outcome) == ("bot", DENIED)


async def test_tokens_are_limited_where_they_are_made(call: Any, agent: OptimizationAgent) -> None:
    asked = {"name": "ci", "scopes": ["predict"], "models": ["churn", "churn", "not-there-yet"]}
    made = await call("admin", "POST", "/tokens", json=asked)
    assert made.status_code == 201
    assert made.json()["token"]["models"] == ["churn", "not-there-yet"]
    for body in (
        {"name": "ci", "scopes": ["predict", "admin"], "models": ["churn"]},
        {"name": "ci", "scopes": ["read"], "models": ["../etc"]},
        {"name": "ci", "scopes": ["read"], "models": [f"m{number}" for number in range(21)]},
    ):
        assert (await call("admin", "POST", "/tokens", json=body)).status_code == 422
    with pytest.raises(InvalidRequest, match="with the scope admin is for all models"):
        await agent.create_token("ci", ["admin"], models=["churn"])


def test_a_token_of_an_older_program_is_for_all_models() -> None:
    token = Token("0123456789ab", "ci", digest_of("x"), (Scope.READ,), NOW)
    stored = encode(token).replace(b',"models":[]', b"")
    assert b"models" not in stored
    assert decode(Token, stored).allows_model("any")


def test_every_verb_that_the_api_calls_is_thought_of_for_limited_tokens() -> None:
    known = {*OF_A_MODEL, *ADMIN_VERBS, *OWN_VERBS, *vars(LimitedAgent)}
    root = Path(serve_app.__file__).parent
    for path in (*root.glob("api/*.py"), *root.glob("dashboard/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] == "agent":
                assert node.attr in known, f"{path.name}: {node.attr}"
