"""The scope `label`: labels, which decide what is trained and rolled out, need a right of their own."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.agent import OptimizationAgent
from optagent.agent.tokens import new_token
from optagent.codec import decode, encode
from optagent.domain.token import Scope, Token
from serve_app.api.auth import Authenticator
from serve_app.api.security import GuardedRoute
from serve_app.asgi import Application
from serve_app.data_plane.gateway import DataPlane
from tests.api.conftest import NOW
from tests.fakes.loader import InMemoryLoader
from tests.fakes.routes import InMemoryRoutes
from tests.fakes.tokens import InMemoryTokens

Send = Callable[[str, str], Awaitable[httpx.Response]]
BODIES = {"predict": {"row": {}}, "labels": {"labels": [{"id": "p-1", "label": "yes"}]}}
NO_TABLE = 503  # the request is permitted, but no table of versions has been heard of


@pytest.fixture
def observations() -> InMemoryObservations:
    return InMemoryObservations()


@pytest.fixture
async def gateway(
    agent: OptimizationAgent,
    tokens: InMemoryTokens,
    clock: ManualClock,
    api: FastAPI,
    observations: InMemoryObservations,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API with a data plane."""
    loader, authenticator = InMemoryLoader(agent._ports.registry), Authenticator(tokens, clock, 100, 100)
    plane = DataPlane(InMemoryRoutes(clock), loader, observations, authenticator, clock, agent.model, "g1")
    transport = httpx.ASGITransport(Application(api, plane))
    async with httpx.AsyncClient(transport=transport, base_url="http://optagent/api/v1") as client:
        yield client


@pytest.fixture
def send(gateway: httpx.AsyncClient, churn_id: str) -> Send:
    """`await send(text, "labels")`: a request about the model, with a token of that text."""

    async def send_request(text: str, verb: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {text}"}
        return await gateway.post(f"/models/{churn_id}/{verb}", json=BODIES[verb], headers=headers)

    return send_request


async def make_earlier_token(tokens: InMemoryTokens, *scopes: str) -> str:
    """The text of a token that a program without the scope `label` has stored."""
    text, token = new_token("shop", scopes, None, NOW)
    stored = encode(token).replace(b',"predict_sends_labels":false', b"")
    assert b"labels" not in stored
    await tokens.create(decode(Token, stored))
    return text


@pytest.mark.parametrize("scope", ["predict", "read", "operate"])
async def test_a_token_without_the_scope_sends_no_labels(
    agent: OptimizationAgent, send: Send, observations: InMemoryObservations, churn_id: str, scope: str
) -> None:
    text, _ = await agent.create_token("shop", [scope])
    answer = await send(text, "labels")
    assert answer.status_code == 403
    assert answer.json()["detail"] == f"token 'shop' has the scopes {scope}: this needs label"
    assert observations.backlog(churn_id) == 0


@pytest.mark.parametrize("scopes", [["label"], ["predict", "label"], ["admin"]])
async def test_a_token_with_the_scope_or_of_an_admin_sends_labels(
    agent: OptimizationAgent, send: Send, scopes: list[str]
) -> None:
    text, _ = await agent.create_token("shop", scopes)
    assert (await send(text, "labels")).json()["recorded"] == 1


async def test_a_token_for_labels_asks_for_no_predictions(agent: OptimizationAgent, send: Send) -> None:
    text, _ = await agent.create_token("warehouse", ["label"])
    assert (await send(text, "predict")).status_code == 403


async def test_a_token_for_labels_opens_no_other_route_and_no_page(
    agent: OptimizationAgent, api: FastAPI, gateway: httpx.AsyncClient
) -> None:
    text, _ = await agent.create_token("warehouse", ["label"])
    count = 0
    for route in iter_route_contexts(api.routes):
        if isinstance(route.original_route, GuardedRoute):
            path = f"http://optagent{route.path}".replace("{", "").replace("}", "")
            headers = {"Authorization": f"Bearer {text}"}
            answer = await gateway.request(min(route.methods), path, headers=headers)
            assert answer.status_code == 403, path
            count += 1
    assert count > 20
    assert (await gateway.post("http://optagent/dashboard/sign-in", data={"token": text})).status_code == 401


async def test_a_token_of_an_earlier_program_keeps_the_right_to_send_labels(
    tokens: InMemoryTokens, send: Send, call: Callable[..., Awaitable[httpx.Response]]
) -> None:
    text = await make_earlier_token(tokens, "predict")
    assert (await send(text, "predict")).status_code == NO_TABLE
    assert (await send(text, "labels")).json()["recorded"] == 1
    listed = {token["name"]: token["scopes"] for token in (await call("admin", "GET", "/tokens")).json()}
    assert listed["shop"] == ["predict", "label"]


@pytest.mark.parametrize("scope", ["read", "operate"])
async def test_a_token_of_an_earlier_program_gets_no_right_that_it_had_not(
    tokens: InMemoryTokens, send: Send, scope: str
) -> None:
    assert (await send(await make_earlier_token(tokens, scope), "labels")).status_code == 403


async def test_an_earlier_token_that_is_revoked_after_the_change_is_read_back_with_its_rights(
    tokens: InMemoryTokens, agent: OptimizationAgent
) -> None:
    await make_earlier_token(tokens, "predict")
    [token] = await agent.tokens()
    revoked = await agent.revoke_token(token.token_id)
    assert decode(Token, encode(revoked)).rights == (Scope.PREDICT, Scope.LABEL)
