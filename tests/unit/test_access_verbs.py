"""Access verbs: tokens, the audit log, the health of the parts, and the changes of a model that are allowed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.domain.audit import AuditEntry
from optagent.domain.rollout import begin
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.routing import RoutingTable
from optagent.domain.token import Scope, digest_of
from optagent.errors import Conflict, InvalidRequest, ModelNotFound, NotFound, Unavailable
from tests.fakes.routes import InMemoryRoutes
from tests.fakes.tokens import InMemoryTokens


class Parts:
    """The ports of an agent, to be looked into."""

    def __init__(self) -> None:
        self.clock = ManualClock(1000.0)
        self.store = InMemoryStore(self.clock)
        self.tokens = InMemoryTokens()
        self.routes = InMemoryRoutes(self.clock)
        self.registry = InMemoryRegistry(self.clock)
        self.tracker = InMemoryTracker()
        self.observations = InMemoryObservations()


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
async def agent(parts: Parts) -> AsyncIterator[Any]:
    async with await create_optimization_agent(strict=True, tuner=SequentialTuner(), **vars(parts)) as new_agent:
        yield new_agent


async def test_the_text_of_a_token_is_shown_once_and_kept_nowhere(agent, parts):
    text, token = await agent.create_token("shop", ["predict", "read", "predict"])
    assert token.scopes == token.rights == (Scope.PREDICT, Scope.READ)
    assert token.matches(text)
    [stored_token] = await parts.tokens.tokens()
    assert stored_token == token
    assert stored_token.digest == digest_of(text)
    assert text not in repr(stored_token)
    assert (await agent.create_token("shop", ["read"]))[0] != text


async def test_a_token_holds_until_it_expires_or_is_revoked(agent, parts):
    _, brief = await agent.create_token("brief", ["read"], expires_s=60)
    _, token = await agent.create_token("token", ["read"])
    parts.clock.advance(61)
    assert not brief.is_valid(parts.clock.now())
    revoked = await agent.revoke_token(token.token_id)
    assert revoked.revoked_at == parts.clock.now()
    assert {one.token_id for one in await agent.tokens()} == {brief.token_id, token.token_id}
    with pytest.raises(NotFound):
        await agent.revoke_token("0" * 12)


@pytest.mark.parametrize(
    ("name", "scopes", "expires_s", "message"),
    [
        ("shop", ["root"], None, "unknown scope root; one of"),
        ("shop", [], None, "a token needs a scope"),
        ("", ["read"], None, "token name ''"),
        ("shop", ["read"], 0, "expires_s must be above 0 seconds, got 0"),
        ("shop", ["read"], float("nan"), "expires_s must be above 0 seconds, got nan"),
    ],
)
async def test_a_token_that_makes_no_sense_is_refused(agent, name, scopes, expires_s, message):
    with pytest.raises(InvalidRequest, match=message):
        await agent.create_token(name, scopes, expires_s)
    assert await agent.tokens() == []


async def test_the_audit_log_has_the_newest_line_first(agent):
    for at in (1.0, 2.0, 3.0):
        await agent.record_audit(AuditEntry(at, "ann", "model.register", "churn"))
    assert [entry.at for entry in await agent.audit(limit=2)] == [3.0, 2.0]


async def test_health_names_the_part_that_is_away_and_never_raises(agent, parts):
    assert await agent.health() == {"redis": "ok", "mlflow": "ok", "observations": "ok"}

    def away() -> None:
        raise Unavailable("MLflow at http://mlflow:5000 does not answer")

    async def broken() -> None:
        raise RuntimeError

    parts.tracker.check, parts.store.check = away, broken
    states = await agent.health()
    assert states == {
        "redis": "RuntimeError",
        "mlflow": "MLflow at http://mlflow:5000 does not answer",
        "observations": "ok",
    }


async def test_a_part_that_hangs_is_not_waited_for(agent, parts, monkeypatch):
    import asyncio

    from optagent.agent import processes

    monkeypatch.setattr(processes, "_ANSWER_S", 0.05)
    parts.store.check = lambda: asyncio.sleep(60)
    assert (await agent.health())["redis"] == "does not answer within 0.05 s"


async def test_of_a_model_is_changed_what_leaves_its_versions_what_they_are(agent, churn):
    before = await agent.register_model({**churn, "monitoring": {"slices": ["region"]}})
    changes = {"description": "who leaves", "monitoring": {"accuracy_drop_threshold": 0.2}, "metric": "accuracy"}
    after = await agent.update_model("churn", changes)
    assert after == await agent.model("churn")
    assert (after.description, after.metric, after.data, after.target) == (
        "who leaves",
        "accuracy",
        before.data,
        before.target,
    )
    assert (after.monitoring.accuracy_drop_threshold, after.monitoring.slices) == (0.2, ("region",))
    assert (await agent.update_model("churn", {"monitoring": None})).monitoring is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "other"}, "target: cannot be changed; one of"),
        ({"model_id": "other"}, "model_id: cannot be changed"),
        ({"metric": "rmse"}, "rmse"),
        ({"families": ["magic"]}, "magic"),
        ({"monitoring": {"accuracy_drop_threshold": 2}}, "accuracy_drop_threshold must be between 0 and 1"),
        ({"monitoring": {"magic": 2}}, "unknown field magic"),
    ],
)
async def test_a_change_that_breaks_a_rule_changes_nothing(agent, churn, changes, message):
    before = await agent.register_model(churn)
    with pytest.raises(InvalidRequest, match=message):
        await agent.update_model("churn", changes)
    assert await agent.model("churn") == before
    with pytest.raises(ModelNotFound):
        await agent.update_model("nobody", {})


async def with_versions(agent: Any, churn: dict[str, Any]) -> None:
    await agent.register_model({**churn, "families": ["linear"], "folds": 2})
    for seed in (0, 1):
        await agent.tune_hyperparameters("churn", "random", trials=2, seed=seed)


async def test_an_alias_moves_but_who_is_champion_is_a_rollouts_to_say_while_it_runs(agent, parts, churn):
    await with_versions(agent, churn)
    moved = await agent.set_alias("churn", "shadowed", "2")
    assert (moved.version, "shadowed" in moved.aliases) == ("2", True)
    assert (await agent.set_alias("churn", "shadowed", "champion")).version == "1"
    rollout = begin("r-1", "churn", "1", "2", RolloutPolicy(), 1000.0, "ann")
    await parts.store.create_rollout(rollout)
    with pytest.raises(Conflict, match="r-1"):
        await agent.set_alias("churn", "champion", "2")
    assert (await agent.set_alias("churn", "shadowed", "2")).version == "2"


@pytest.mark.parametrize("alias", ["latest", "v1", "", "A", "a b", "a" * 51])
async def test_an_alias_that_the_registry_cannot_have_is_refused(agent, churn, alias):
    await agent.register_model(churn)
    with pytest.raises(InvalidRequest, match="alias"):
        await agent.set_alias("churn", alias, "1")


async def test_an_alias_of_nothing_is_refused(agent, churn):
    with pytest.raises(ModelNotFound):
        await agent.set_alias("nobody", "champion", "1")
    await agent.register_model(churn)
    with pytest.raises(ModelNotFound):
        await agent.set_alias("churn", "champion", "7")


async def test_served_are_the_models_with_a_table_that_answers(agent, parts):
    await parts.routes.stage(RoutingTable("churn", 1, "1"))
    await parts.routes.stage(RoutingTable("delays", 1, "1"))
    assert await agent.served() == ()
    await parts.routes.activate("churn", 1, parts.clock.now())
    assert await agent.served() == ("churn",)
