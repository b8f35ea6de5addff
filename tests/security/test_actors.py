"""Nobody can act under the name of another, of the product, or of nobody."""

from typing import Any

import httpx
import pytest

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.domain.actor import Actor, Door
from optagent.domain.alert import Severity
from optagent.domain.notice import notice_of_transition
from optagent.domain.rollout import AUTOMATIC
from optagent.domain.token import Scope, Token, digest_of, token_text
from optagent.errors import InvalidRequest
from tests.api.conftest import NOW
from tests.fakes.tokens import InMemoryTokens

RESERVED = ["optagent", "OptAgent", "optagent ci", "anonymous", "local", "local-ana", "local ana", "process tune-1"]
TEXT = token_text("0f1e2d3c4b5a", "s" * 43)
HEADERS = {"Authorization": f"Bearer {TEXT}"}


@pytest.mark.parametrize("name", RESERVED)
async def test_a_token_gets_no_name_of_an_actor_without_one(agent: OptimizationAgent, call: Any, name: str) -> None:
    with pytest.raises(InvalidRequest, match="reserved"):
        await agent.create_token(name, ["operate"])
    answer = await call("admin", "POST", "/tokens", json={"name": name, "scopes": ["operate"]})
    assert answer.status_code == 422
    assert "reserved" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["locale", "ci local", "optagents", "processor 1", "ana"])
async def test_a_name_that_only_resembles_one_is_free(agent: OptimizationAgent, name: str) -> None:
    assert (await agent.create_token(name, ["read"]))[1].name == name


async def test_an_old_token_of_such_a_name_cannot_pass_as_the_product(
    agent: OptimizationAgent, client: httpx.AsyncClient, tokens: InMemoryTokens, store: InMemoryStore, rivals: str
) -> None:
    await tokens.create(Token("0f1e2d3c4b5a", AUTOMATIC, digest_of(TEXT), (Scope.OPERATE,), NOW))
    await agent.start_rollout(rivals, "2")
    await client.post(f"/models/{rivals}/rollout/promote", headers=HEADERS)
    answer = await client.post(f"/models/{rivals}/rollout/rollback", headers=HEADERS)
    assert answer.status_code == 200
    rollout = await agent.latest_rollout(rivals)
    last = rollout.transitions[-1]
    assert (last.by, last.is_automatic) == ("optagent (0f1e2d3c4b5a)", False)
    assert notice_of_transition(rollout, last).severity is Severity.WARNING
    by_the_product = [entry for entry in await store.audit() if entry.actor == AUTOMATIC]
    assert by_the_product == []


@pytest.mark.parametrize("name", ["optagent", "anonymous"])
async def test_a_refused_request_of_an_old_token_is_under_its_id(
    client: httpx.AsyncClient, tokens: InMemoryTokens, api: Any, name: str
) -> None:
    refusals: list[Any] = []
    api.state.context.authenticator._on_refused = refusals.append
    await tokens.create(Token("0f1e2d3c4b5a", name, digest_of(TEXT), (Scope.PREDICT,), NOW))
    assert (await client.get("/models", headers=HEADERS)).status_code == 403
    assert [entry.actor for entry in refusals] == [f"{name} (0f1e2d3c4b5a)"]


async def test_a_decision_by_hand_is_never_automatic_whatever_the_name(agent: OptimizationAgent, rivals: str) -> None:
    await agent.start_rollout(rivals, "2", who=AUTOMATIC)
    await agent.promote_rollout(rivals, who=AUTOMATIC)
    rollout = await agent.rollback_rollout(rivals, who=AUTOMATIC)
    assert not any(change.is_automatic for change in rollout.transitions[1:])
    assert {change.by for change in rollout.transitions} == {"local:optagent (sdk)"}


async def test_two_tokens_of_one_name_are_told_apart(
    agent: OptimizationAgent, client: httpx.AsyncClient, churn_id: str, store: InMemoryStore
) -> None:
    actors = set()
    for _ in range(2):
        text, _token = await agent.create_token("ci", ["operate"])
        headers = {"Authorization": f"Bearer {text}"}
        await client.patch(f"/models/{churn_id}", json={"description": "x"}, headers=headers)
        actors.add((await store.audit(1))[0].actor)
    assert len(actors) == 2


def test_the_texts_of_all_kinds_of_actors_differ_for_every_name() -> None:
    texts = {str(Actor("optagent", door, "0f1e2d3c4b5a")) for door in Door}
    assert len(texts) == len(Door)
    assert str(Actor("optagent", Door.SUPERVISOR)) == "optagent"
