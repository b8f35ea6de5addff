"""Guards of the API: every route has one, and a refusal names its reason."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from optagent.adapters.in_memory.clock import ManualClock
from optagent.agent import OptimizationAgent
from optagent.errors import Unavailable
from serve_app.api.security import GuardedRoute
from serve_app.dashboard.page import PageRoute

OPEN = {"/", "/api/v1/optimization/health", "/docs", "/openapi.json"}
DATA_PLANE = {"/api/v1/models/{model_id}/predict", "/api/v1/models/{model_id}/labels"}


def routes(api: FastAPI) -> list[Any]:
    """The routes of the API, without the pages of the dashboard."""
    return [route for route in iter_route_contexts(api.routes) if not isinstance(route.original_route, PageRoute)]


def test_every_route_but_health_and_documents_is_guarded(api: FastAPI):
    guarded = {route.path for route in routes(api) if isinstance(route.original_route, GuardedRoute)}
    others = {route.path for route in routes(api) if not isinstance(route.original_route, GuardedRoute)}
    assert len(guarded) > 20
    assert others == OPEN | DATA_PLANE


async def test_without_a_token_every_route_is_401_whatever_else_is_wrong(api: FastAPI, client: httpx.AsyncClient):
    for route in routes(api):
        if isinstance(route.original_route, APIRoute) and route.path not in OPEN | DATA_PLANE:
            path = f"http://optagent{route.path}".replace("{", "").replace("}", "")
            body = b"{not json" if min(route.methods) in ("PATCH", "POST", "PUT") else None
            answer = await client.request(min(route.methods), path, content=body)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("read", "POST", "/optimization/hyperparameter"),
        ("read", "POST", "/models/churn/rollout/promote"),
        ("operate", "POST", "/models"),
        ("operate", "GET", "/tokens"),
        ("operate", "GET", "/audit"),
        ("predict", "GET", "/models"),
    ],
)
async def test_a_token_of_another_scope_is_403_and_both_are_named(call, scope: str, method: str, path: str):
    answer = await call(scope, method, path, content=b"{not json" if method == "POST" else None)
    assert answer.status_code == 403
    assert f"has the scopes {scope}: this needs " in answer.json()["detail"]


async def test_refusals_are_in_the_audit_log_with_the_number_of_the_request(call, client: httpx.AsyncClient):
    first = await client.get("/models", headers={"Authorization": "Bearer oa_forged"})
    for _ in range(5):
        await asyncio.sleep(0)
    second = await call("predict", "GET", "/models")
    for _ in range(5):
        await asyncio.sleep(0)
    entries = (await call("admin", "GET", "/audit")).json()
    refused = [entry for entry in entries if entry["action"] == "auth.refused"]
    [by_token] = [token for token in (await call("admin", "GET", "/tokens")).json() if token["name"] == "predict"]
    assert {entry["request_id"]: entry["actor"] for entry in refused} == {
        first.json()["instance"]: "anonymous",
        second.json()["instance"]: f"predict ({by_token['token_id']})",
    }


async def test_a_revoked_token_is_refused_two_seconds_later(call, client: httpx.AsyncClient, clock: ManualClock):
    new_token = (await call("admin", "POST", "/tokens", json={"name": "ci", "scopes": ["read"]})).json()
    headers = {"Authorization": f"Bearer {new_token['text']}"}
    assert (await client.get("/models", headers=headers)).status_code == 200
    await call("admin", "DELETE", f"/tokens/{new_token['token']['token_id']}")
    clock.advance(2)
    assert (await client.get("/models", headers=headers)).status_code == 401


async def test_too_many_requests_are_429_with_the_time_to_wait(call, client: httpx.AsyncClient):
    answers = [await call("read", "GET", "/models") for _ in range(101)]
    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"] == "5"
    assert {answer.status_code for answer in answers[:-1]} == {200}


async def test_health_is_open_and_tells_strangers_no_more_than_which_part_is_down(
    api: FastAPI, agent: OptimizationAgent, call, client: httpx.AsyncClient, clock: ManualClock
):
    whole = await client.get("/optimization/health")
    assert (whole.status_code, whole.json()["status"]) == (200, "ok")

    async def health() -> dict[str, str]:
        return {"redis": "Redis at 10.0.0.3:6379 does not answer", "mlflow": "ok"}

    agent.health = health  # type: ignore[method-assign]
    clock.advance(1)
    answer = await client.get("/optimization/health")
    assert answer.status_code == 503
    assert answer.json() == {"status": "down", "parts": {"control": "ok", "redis": "down", "mlflow": "ok"}}
    answer = await call("read", "GET", "/optimization/health")
    assert answer.json()["parts"]["redis"] == "Redis at 10.0.0.3:6379 does not answer"


async def test_health_is_asked_for_once_a_second_however_many_ask(
    agent: OptimizationAgent, client: httpx.AsyncClient, clock: ManualClock
):
    calls = 0

    async def health() -> dict[str, str]:
        nonlocal calls
        calls += 1
        raise Unavailable("the control process does not answer")

    agent.health = health  # type: ignore[method-assign]
    answers = await asyncio.gather(*(client.get("/optimization/health") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].json()["parts"] == {"control": "down"}
    assert calls == 1
    clock.advance(1)
    await client.get("/optimization/health")
    assert calls == 2


async def test_a_part_that_is_away_is_503_with_its_name(agent: OptimizationAgent, call):
    async def models() -> list[Any]:
        raise Unavailable("Redis at 127.0.0.1:6379 does not answer")

    agent.models = models  # type: ignore[method-assign]
    answer = await call("read", "GET", "/models")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert "Redis" in answer.json()["detail"]


async def test_what_nobody_meant_is_500_without_its_text(agent: OptimizationAgent, call):
    async def models() -> list[Any]:
        raise RuntimeError("/secret/path")

    agent.models = models  # type: ignore[method-assign]
    answer = await call("read", "GET", "/models")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/nowhere", 404), ("PUT", "/models", 405)])
async def test_a_path_or_method_that_is_not_there_is_a_problem_too(client, method: str, path: str, code: int):
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (code, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_method_that_is_not_there_is_told_all_that_are(client: httpx.AsyncClient):
    assert (await client.put("/models")).headers["allow"] == "GET, POST"
    assert (await client.delete("/models/churn")).headers["allow"] == "GET, PATCH"
