"""Rollout supervisor: one pass over all models, which no trouble of a single model stops."""

import asyncio
from typing import Any

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.rollout import abort, promote
from optagent.domain.rollout_look import RolloutState
from optagent.domain.routing import RoutingTable
from optagent.errors import Unavailable
from optagent.loop.rollout.reconcile import LOAD_LIMIT_S, follow
from optagent.loop.rollout.supervise import SupervisorPass

OTHER = ModelSpec("fraud", Task.BINARY, FileSource("rows.parquet"), "fraud")


class Away:
    """A port that raises Unavailable for some verbs."""

    def __init__(self, port: Any, *verbs: str) -> None:
        self._port, self._verbs = port, verbs

    def __getattr__(self, name: str) -> Any:
        if name in self._verbs:
            raise Unavailable("MLflow at http://mlflow does not answer")
        return getattr(self._port, name)


async def settle_rollout(world, *acts):
    await world.begin()
    await world.pass_by()
    for act in acts:
        await world.decide(act)
        await world.pass_by()


async def test_without_a_rollout_the_router_follows_the_registry(world):
    await world.store.save_model(OTHER)
    world.registry.champion["fraud"] = "1"
    assert await world.pass_by() == SupervisorPass(("fraud: version 1 answers",))
    assert await world.pass_by() == SupervisorPass()
    world.registry.champion["fraud"] = "3"  # by hand, in MLflow
    await world.pass_by()

    assert (await world.routes.active_table("fraud")).champion == "3"


async def test_a_table_carries_the_digest_of_each_version(world):
    await world.begin()
    await world.pass_by()
    assert (await world.routes.active_table("churn")).digests == {"1": "1" * 64, "2": "2" * 64}


async def test_a_rollback_keeps_the_digest_while_the_registry_is_away(world):
    await settle_rollout(world)
    await world.decide(abort)
    await world.pass_by(world.live(registry=Away(world.registry, "version")))
    table = await world.routes.active_table("churn")
    assert (table.rollout_id, table.digests) == ("", {"1": "1" * 64})


async def test_a_table_without_digests_gets_them_when_the_registry_can_be_asked(world):
    await world.store.save_model(OTHER)
    world.registry.champion["fraud"] = "1"
    await world.routes.stage(RoutingTable("fraud", 1, "1"))
    await world.routes.activate("fraud", 1, world.clock.now())
    await world.pass_by()
    table = await world.routes.active_table("fraud")
    assert (table.revision, table.digests) == (2, {"1": "1" * 64})
    assert await world.pass_by() == SupervisorPass()


async def test_a_registry_that_was_made_anew_is_followed_by_digest(world):
    await world.store.save_model(OTHER)
    world.registry.champion["fraud"] = "1"
    await world.pass_by()
    world.registry.digests["1"] = "a" * 64
    await world.pass_by()
    assert (await world.routes.active_table("fraud")).digests == {"1": "a" * 64}


async def test_a_model_without_a_champion_has_no_table(world):
    await world.store.save_model(OTHER)

    assert await world.pass_by() == SupervisorPass()
    assert await world.routes.tables() == []


async def test_a_rollout_starts_with_the_next_pass(world):
    await world.begin()
    report = await world.pass_by()

    assert report.done == ("churn: version 2 shadow (ana: started)",)
    assert report.states == {"churn": RolloutState.SHADOW}
    assert (await world.routes.active_table("churn")).shadow == "2"
    assert (await world.pass_by()).done == ()


async def test_the_trouble_of_one_model_is_told_and_stops_no_other(world):
    await world.store.save_model(OTHER)
    await world.begin()
    world.registry.champion["fraud"] = "1"

    class Broken:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.registry, name)

        def version(self, model_id: str, alias: str) -> Any:
            if model_id == "churn":
                raise KeyError("a defect")
            return world.registry.version(model_id, alias)

    report = await world.pass_by(world.live(registry=Broken()))

    assert report.errors == {"churn": "KeyError: 'a defect'"}
    assert "fraud: version 1 answers" in report.done


async def test_a_candidate_that_gateways_cannot_load_is_aborted_with_their_reason(world):
    world.gateways["g2"] = "version 2: its process ended (signal 11)"
    await world.begin()
    await world.pass_by()
    rollout = await world.rollout()

    assert (rollout.state, rollout.transitions[-1].by) == (RolloutState.ABORTED, "optagent")
    assert rollout.transitions[-1].reason.endswith("cannot be loaded by g2: version 2: its process ended (signal 11)")
    assert await world.champions() == {"1"}


async def test_a_candidate_that_is_not_loaded_in_two_minutes_is_aborted(world):
    world.gateways["g2"] = None
    await world.begin()
    live = world.live()
    report = await world.pass_by(live)
    assert "is not loaded by g2" in report.errors["churn"]
    assert (await world.rollout()).state is RolloutState.SHADOW
    await world.pass_by(live, LOAD_LIMIT_S + 1)
    world.gateways["g2"] = ""
    await world.pass_by(live)

    assert (await world.rollout()).state is RolloutState.ABORTED
    assert await world.champions() == {"1"}


async def test_a_supervisor_that_was_away_gives_gateways_their_time(world):
    world.gateways["g2"] = None
    await world.begin()
    await world.pass_by(seconds=10 * LOAD_LIMIT_S)

    assert (await world.rollout()).state is RolloutState.SHADOW


async def test_a_champion_moved_by_hand_ends_a_rollout_and_stays(world):
    await settle_rollout(world)
    world.registry.champion["churn"] = "3"
    report = await world.pass_by()
    rollout = await world.rollout()

    assert (rollout.state, rollout.is_settled) == (RolloutState.ABORTED, True)
    assert report.done == (
        "churn: version 2 aborted (optagent: version 3 was made champion by hand)",
        "churn: version 3 answers",
    )
    assert (await world.routes.active_table("churn")).champion == world.registry.champion["churn"] == "3"
    assert (await world.pass_by()).done == ()


async def test_the_champion_of_before_made_champion_by_hand_while_baking_is_a_rollback(world):
    await settle_rollout(world, promote)
    world.registry.champion["churn"] = "1"
    await world.pass_by()

    assert (await world.rollout()).state is RolloutState.ROLLED_BACK
    assert await world.champions() == {"1"}


async def test_after_its_end_a_rollout_leaves_the_registry_to_people(world):
    await settle_rollout(world, promote, promote)
    world.registry.champion["churn"] = "3"
    await world.pass_by()

    assert (await world.rollout()).state is RolloutState.PROMOTED
    assert (await world.routes.active_table("churn")).champion == world.registry.champion["churn"] == "3"


async def test_a_champion_that_gateways_refuse_is_tried_again_after_a_minute(world):
    await settle_rollout(world)
    world.gateways["g1"] = "version 2: corrupt"
    world.registry.champion["churn"] = "2"
    live, revisions = world.live(), []
    stage = world.routes.stage

    async def record_stage(table):
        revisions.append(table.revision)
        await stage(table)

    world.routes.stage = record_stage
    for _ in range(20):
        report = await world.pass_by(live)
        assert "version 2: corrupt" in report.errors["churn"]
    tries = len(revisions)
    world.gateways["g1"] = ""
    await world.pass_by(live, 60.0)

    assert tries == 1
    assert (await world.routes.active_table("churn")).champion == "2"


async def test_without_the_registry_harm_has_its_way_back_all_the_same(world):
    await settle_rollout(world, promote)
    world.candidate.fails = 0.5
    await world.traffic(2_000)
    live = world.live(registry=Away(world.registry, "version", "set_alias"))
    report = await world.pass_by(live)

    assert report.errors == {"churn": "MLflow at http://mlflow does not answer"}
    assert (await world.routes.active_table("churn")).champion == "1"
    assert world.registry.champion["churn"] == "2"
    await world.pass_by()
    assert await world.champions() == {"1"}


async def test_a_gateway_that_hangs_does_not_hold_up_a_way_back(world):
    await settle_rollout(world, promote)
    world.gateways["g2"] = None
    world.candidate.fails = 0.5
    await world.traffic(2_000)
    await world.pass_by()

    assert (await world.rollout()).state is RolloutState.ROLLED_BACK
    assert await world.champions() == {"1"}


async def test_a_follower_beside_a_supervisor_does_no_harm(world):
    await settle_rollout(world)
    await world.decide(promote)
    await asyncio.gather(world.pass_by(), follow("r1", world.live()), follow("r1", world.live()))

    assert (await world.rollout()).is_settled
    assert await world.champions() == {"2"}
