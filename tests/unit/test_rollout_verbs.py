"""Rollout verbs: an agent's caller starts rollouts by a strategy's rules, and ends them by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.codec import model_from
from optagent.domain.model import CHALLENGER, CHAMPION
from optagent.domain.rollout_look import RolloutState
from optagent.errors import Conflict, CorruptBundle, InvalidRequest, ModelNotFound, NotFound
from optagent.training.bundle import save_bundle
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named
from tests.fakes.routes import InMemoryRoutes


class Shop:
    """An agent whose ports are in memory, and the model "churn" with versions 1 (champion) and 2 (challenger)."""

    def __init__(self, agent: Any, clock: ManualClock, store: Any, registry: Any, routes: Any, folder: Path) -> None:
        self.agent, self.clock, self.store, self.registry, self.routes = agent, clock, store, registry, routes
        self.folder = folder

    def register(self, name: str, make_rows: Any, model: dict[str, Any], **changes: Any) -> str:
        """A linear model of the rows as a new version."""
        spec, rows = model_from({**model, **changes}), make_rows()
        schema = fit_schema(rows, spec)
        data = load_data(rows, schema)
        fit = family_named("linear").start({}, data, np.arange(len(data)), seed=1)
        fit.advance(1)
        bundle = self.folder / name
        facts = {"model_id": "churn", "task": spec.task, "params": {}, "rounds": 1, "created_at": 0.0}
        save_bundle(bundle, fit.model(), "linear", schema, facts)
        return self.registry.register("churn", bundle, {}, {}).version

    async def start(self, **arguments: Any) -> Any:
        return await self.agent.start_rollout("churn", **arguments)

    async def champions(self) -> set[str]:
        table, rollout = await self.routes.active_table("churn"), await self.agent.latest_rollout("churn")
        return {table.champion, self.registry.version("churn", CHAMPION).version, rollout.holder}


@pytest.fixture
async def shop(tmp_path: Path, churn: dict[str, Any], make_rows: Any) -> AsyncIterator[Shop]:
    clock = ManualClock(1_700_000_000.0)
    store, registry, routes = InMemoryStore(clock), InMemoryRegistry(clock), InMemoryRoutes(clock)
    agent = await create_optimization_agent(
        clock=clock,
        store=store,
        registry=registry,
        routes=routes,
        tracker=InMemoryTracker(),
        observations=InMemoryObservations(),
        tuner=SequentialTuner(),
        home=str(tmp_path / "home"),
    )
    async with agent:
        the_shop = Shop(agent, clock, store, registry, routes, tmp_path)
        await agent.register_model(churn)
        for alias in (CHAMPION, CHALLENGER):
            registry.set_alias("churn", alias, the_shop.register(alias, make_rows, churn))
        yield the_shop


async def test_a_rollout_starts_in_shadow_by_the_rules_of_its_strategy(shop: Shop) -> None:
    rollout = await shop.start(strategy="balanced", who="ana")

    assert (rollout.champion, rollout.candidate, rollout.state) == ("1", "2", RolloutState.SHADOW)
    assert rollout.is_settled
    assert rollout.transitions[0].by == "local:ana (sdk)"
    assert 0 < rollout.policy.margin < rollout.policy.ramp_margin < 0.25 * 0.06
    assert rollout.policy.ramp_margin == pytest.approx(5 * rollout.policy.margin)
    assert rollout.policy.label_delay_s == 86_400.0
    assert (await shop.routes.active_table("churn")).shadow == "2"
    assert await shop.agent.rollout(rollout.rollout_id) == rollout == await shop.agent.latest_rollout("churn")
    assert await shop.agent.rollouts("churn") == [rollout]


async def test_rules_can_be_asked_for_one_by_one(shop: Shop) -> None:
    policy = {"shadow": False, "ramp": [0.1], "label_delay_s": 60, "guardrails": {"errors": 0.02}}
    rollout = await shop.start(candidate="2", policy=policy)

    assert rollout.state is RolloutState.RAMP
    assert (rollout.policy.ramp, rollout.policy.label_delay_s) == ((0.1,), 60.0)
    assert dict(rollout.policy.guardrails) == {"errors": 0.02}
    assert (await shop.routes.active_table("churn")).share == 0.1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"candidate": "champion"}, InvalidRequest, "champion: version 1 is the champion already"),
        ({"candidate": "7"}, ModelNotFound, "churn version 7"),
        ({"candidate": "nobody"}, ModelNotFound, "churn alias nobody"),
        ({"strategy": "bold"}, InvalidRequest, "unknown strategy 'bold'"),
        ({"policy": {"rump": [0.1]}}, InvalidRequest, "unknown field rump; one of .*'ramp'"),
        ({"policy": {"alpha": 2}}, InvalidRequest, "alpha must be between 0 and 1"),
        ({"policy": {"alpha": "low"}}, InvalidRequest, "alpha: input should be a valid number"),
        ({"policy": {"guardrails": {"fraud": 0.1}}}, InvalidRequest, "guardrails: unknown fraud; one of"),
        ({"policy": [1]}, InvalidRequest, "policy: a mapping of fields is needed, got list"),
    ],
)
async def test_what_cannot_be_started_is_refused_by_name_and_leaves_nothing(
    shop: Shop, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await shop.start(**arguments)
    assert await shop.agent.rollouts() == []
    assert await shop.routes.tables() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "sex", "sensitive_columns": []}, "version 3 has target 'sex', the champion 'label'"),
        ({"task": "regression", "target": "value", "ignore": ["label"]}, "version 3 has task 'regression'"),
        ({"positive_class": "no"}, r"version 3 has classes \['yes', 'no'\], the champion \['no', 'yes'\]"),
    ],
)
async def test_another_kind_of_model_is_no_candidate(
    shop: Shop, churn: dict[str, Any], make_rows: Any, changes: dict[str, Any], message: str
) -> None:
    version = shop.register("other", make_rows, churn, **changes)

    with pytest.raises(Conflict, match=message):
        await shop.start(candidate=version)


async def test_a_model_without_a_champion_or_of_no_name_has_no_rollout(shop: Shop, churn: dict[str, Any]) -> None:
    await shop.agent.register_model({**churn, "id": "new"})
    with pytest.raises(Conflict, match="'new' has no champion"):
        await shop.agent.start_rollout("new")
    with pytest.raises(ModelNotFound):
        await shop.agent.start_rollout("nobody")
    with pytest.raises(NotFound, match="has had no rollout"):
        await shop.agent.latest_rollout("churn")
    with pytest.raises(NotFound):
        await shop.agent.promote_rollout("churn")


async def test_a_candidate_whose_bundle_is_damaged_is_refused(shop: Shop) -> None:
    version = shop.registry.version("churn", "2")
    shop.registry._versions["churn"][1] = replace(version, digest="0" * 64, aliases=())

    with pytest.raises(CorruptBundle):
        await shop.start()


async def test_one_rollout_at_a_time(shop: Shop) -> None:
    first = await shop.start()
    with pytest.raises(Conflict, match=f"rollout '{first.rollout_id}' of churn is active"):
        await shop.start()
    await shop.agent.abort_rollout("churn", "ana", "no more")
    second = await shop.start()  # at the same instant by a clock that stands still

    assert (await shop.agent.latest_rollout("churn")).rollout_id == second.rollout_id


async def test_promoted_by_hand_twice_and_rolled_back_long_after(shop: Shop) -> None:
    await shop.start()
    baking = await shop.agent.promote_rollout("churn", "ana", "I know it")
    assert (baking.state, baking.transitions[-1].reason) == (RolloutState.BAKING, "I know it")
    assert await shop.champions() == {"2"}
    after = await shop.agent.promote_rollout("churn", "ana", "enough")
    assert (after.state, await shop.champions()) == (RolloutState.PROMOTED, {"2"})
    shop.clock.advance(30 * 86_400.0)
    back = await shop.agent.rollback_rollout("churn", "bob", "complaints")

    assert (back.state, back.is_settled, await shop.champions()) == (RolloutState.ROLLED_BACK, True, {"1"})
    assert [(entry.actor, entry.action) for entry in await shop.store.audit(4)] == [
        ("local:bob (sdk)", "rollout.rollback"),
        ("local:bob (sdk)", "rollout.rolled_back"),
        ("local:ana (sdk)", "rollout.promote"),
        ("local:ana (sdk)", "rollout.promoted"),
    ]


async def test_what_a_state_does_not_allow_is_a_conflict(shop: Shop) -> None:
    agent = shop.agent
    await shop.start()
    with pytest.raises(Conflict, match="only what was promoted can be rolled back"):
        await agent.rollback_rollout("churn")
    await agent.promote_rollout("churn")
    with pytest.raises(Conflict, match="it can be rolled back, not aborted"):
        await agent.abort_rollout("churn")
    await agent.rollback_rollout("churn")
    for act in (agent.promote_rollout, agent.abort_rollout, agent.rollback_rollout):
        with pytest.raises(Conflict):
            await act("churn")

    assert await shop.champions() == {"1"}


async def test_after_another_version_was_made_champion_there_is_nothing_to_roll_back(shop: Shop) -> None:
    await shop.start()
    await shop.agent.promote_rollout("churn")
    await shop.agent.promote_rollout("churn")
    shop.registry.set_alias("churn", CHAMPION, "1")

    with pytest.raises(Conflict, match="version 1 has become champion since"):
        await shop.agent.rollback_rollout("churn")


async def test_a_decision_that_loses_a_race_is_made_on_top_of_the_other(shop: Shop) -> None:
    rollout = await shop.start()
    save, others = shop.store.save_rollout, iter([replace(rollout, settled=0)])

    async def save_after_another(after: Any, before: Any) -> None:
        for other in others:
            await save(other, before)
        await save(after, before)

    shop.store.save_rollout = save_after_another
    after_promotion = await shop.agent.promote_rollout("churn", "ana", "sure")

    assert (after_promotion.state, after_promotion.is_settled) == (RolloutState.BAKING, True)


async def gateway(shop: Shop, broken: dict[str, str]) -> None:
    """Answers whatever is staged, as a gateway does; `broken` are the versions that it cannot load, and why."""
    await shop.routes.beat("g1", 60.0)
    async for table in shop.routes.changes():
        if table is not None and table.activate_at is None:
            refusal = "; ".join(why for version, why in broken.items() if version in table.versions)
            await shop.routes.acknowledge("g1", "churn", table.revision, refusal)


@pytest.fixture
async def broken(shop: Shop) -> AsyncIterator[dict[str, str]]:
    """Versions that a listening gateway cannot load, with the reasons."""
    versions: dict[str, str] = {}
    task = asyncio.create_task(gateway(shop, versions))
    await asyncio.sleep(0)
    yield versions
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_rollback_is_one_swap_of_tables(shop: Shop, broken: dict[str, str]) -> None:
    await shop.start()
    await shop.agent.promote_rollout("churn")
    before = (await shop.routes.active_table("churn")).revision
    await shop.agent.rollback_rollout("churn")
    table = await shop.routes.active_table("churn")

    assert (table.champion, table.revision) == ("1", before + 1)
    assert table.activate_at == pytest.approx(shop.clock.now() + 0.03)


async def test_a_candidate_that_cannot_be_loaded_is_an_answer_with_the_reason(
    shop: Shop, broken: dict[str, str]
) -> None:
    broken["2"] = "version 2: its process ended"
    rollout = await shop.start()

    assert (rollout.state, rollout.transitions[-1].by) == (RolloutState.ABORTED, "optagent")
    assert rollout.transitions[-1].reason.endswith("g1: version 2: its process ended")
    assert await shop.champions() == {"1"}
    broken.clear()
    assert (await shop.start()).state is RolloutState.SHADOW


async def test_a_pass_goes_on_with_what_was_started(shop: Shop) -> None:
    assert (await shop.agent.supervise_once()).done == ("churn: version 1 answers",)
    await shop.start()
    report = await shop.agent.supervise_once()

    assert (report.done, report.errors, report.states) == ((), {}, {"churn": RolloutState.SHADOW})


async def test_without_routes_there_are_no_rollouts(agent: Any, churn: dict[str, Any]) -> None:
    await agent.register_model(churn)

    with pytest.raises(InvalidRequest, match="routes no requests"):
        await agent.supervise_once()
