"""Gate replay: a decision is made again from the audit log, and whatever has changed since is named."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.agent import OptimizationAgent
from optagent.cli import app
from optagent.cli import audit as audit_commands
from optagent.domain.audit import AuditEntry, parse_link
from optagent.domain.audit_chain import Fault
from optagent.domain.model import ModelSpec
from optagent.domain.optimization import OptimizationResult
from optagent.domain.retention import RetentionRules
from optagent.domain.rollout import abort, begin
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.errors import InvalidRequest, NotFound
from optagent.loop.gates.replay import GateReplay, replay_gates
from optagent.loop.rollout.reconcile import audit_entry
from optagent.loop.rollout.replay import ReplayDifference, RolloutReplay

NOW = 1_700_000_000.0
DAY = 86_400.0
GATES = {"accuracy_min": 0.6, "log_loss_max": 0.9, "enable_bias_check": True, "max_bias": 0.9}


def rows(count: int, seed: int = 0, turned: bool = False, start: float = NOW - 1500 * DAY) -> pa.Table:
    """Rows whose label depends on `a`, or with `turned` on `b`."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, count))
    signal = (2 * b if turned else 2 * a) + 0.5 * c + rng.logistic(size=count) * 0.5
    days = ((start + np.arange(count) * DAY) * 1e6).astype("int64").astype("datetime64[us]")
    sex = rng.choice(["f", "m"], size=count)
    return pa.table({"day": days, "a": a, "b": b, "c": c, "sex": sex, "label": np.where(signal > 0, "yes", "no")})


class World:
    """A model whose champion was replaced after its world had turned, by decisions that the log holds."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rows.parquet"
        self.clock = ManualClock(NOW)
        self.store = InMemoryStore(self.clock)
        self.registry = InMemoryRegistry(self.clock)
        self.observations = InMemoryObservations()
        self.agent: OptimizationAgent

    async def optimize(self, **arguments: Any) -> OptimizationResult:
        return await self.agent.optimize_model("churn", **{"optimization_type": "retrain", "gates": GATES, **arguments})

    async def entry(self) -> AuditEntry:
        """The newest decision."""
        return next(each for each in await self.agent.audit() if each.action == "optimize.judged")

    async def spec(self) -> ModelSpec:
        return await self.store.model("churn")

    async def turn(self) -> None:
        """A thousand rows come, one a day, that the champion answers wrongly."""
        table = rows(1000, seed=3, turned=True, start=NOW + DAY)
        ids = [f"row {index}" for index in range(1000)]
        columns = {"id": ids, "time": table["day"], "prediction": ["no"] * 1000, "a": table["a"], "b": table["b"]}
        yes = np.clip(1 / (1 + np.exp(-2 * table["a"].to_numpy())), 0.01, 0.99)
        answers = {**columns, "probability_yes": yes, "probability_no": 1 - yes, "c": table["c"]}
        await self.agent.record_predictions("churn", pa.table(answers))
        await self.agent.record_labels("churn", pa.table({"id": ids, "time": table["day"], "label": table["label"]}))
        self.clock.advance(1003 * DAY)
        await self.agent.watch_once("churn")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    new_world = World(tmp_path)
    pq.write_table(rows(1500), new_world.path)
    async with await create_optimization_agent(
        strict=True,
        clock=new_world.clock,
        store=new_world.store,
        registry=new_world.registry,
        tracker=InMemoryTracker(),
        observations=new_world.observations,
        tuner=SequentialTuner(),
        workers=SequentialWorkers(),
        early_stopping_rounds=10,
    ) as new_world.agent:
        await new_world.agent.register_model(
            {
                "id": "churn",
                "task": "binary",
                "data": str(new_world.path),
                "target": "label",
                "time_column": "day",
                "label_horizon": "1d",
                "sensitive_columns": ["sex"],
                "families": ["linear"],
                "folds": 2,
                "metric": "log_loss",
                "monitoring": {"performance_window_hours": 24.0 * 400, "false_alarm_every": "4000d"},
            }
        )
        yield new_world


def describe(replay: Any) -> str:
    return "; ".join(str(each) for each in (*replay.changed, replay.difference))


async def test_every_decision_of_a_model_replays_bit_for_bit_also_once_the_champion_is_another(world: World):
    first = await world.optimize()
    assert (first.status, first.aliases) == ("success", ("champion",)), first.error_message
    await world.turn()
    second = await world.optimize(window="sliding", gates={})
    assert (second.status, second.window) == ("success", "sliding"), second.error_message
    world.registry.set_alias("churn", "champion", "2")
    third = await world.optimize(optimization_type="full", trials=2, ensemble=2, timeout_s=30)
    assert third.status == "rejected"
    links = [link for link in (await world.store.audit_links()).links if link.entry.action == "optimize.judged"]
    assert len(links) == 3
    for link, result in zip(links, (first, second, third), strict=True):
        replay = await world.agent.replay_decision(result.process_id)
        assert replay.is_same, describe(replay)
        assert await world.agent.replay_decision(link.sequence) == replay
        assert (replay.version, replay.outcome) == (result.version, result.verdict)
        assert {"validation samples", "champion"} <= set(replay.same)
        assert not {"latency", "servable", "security", "serving parity"} - set(replay.not_computed)
        assert len(replay.same) + len(replay.not_computed) == len(result.gates)
    assert links[1].entry.detail["champion_version"] == "1"
    assert links[2].entry.detail["champion_version"] == "2"
    assert any(name.startswith("bias by sex") for name in replay.same)


async def test_the_coverage_of_intervals_is_judged_again_where_the_decision_judged_it(world: World):
    first = await world.optimize()
    await world.store.save_model(replace(await world.spec(), intervals=True))
    before = await world.agent.replay_decision(first.process_id)
    assert before.is_same, describe(before)
    second = await world.optimize()
    replay = await world.agent.replay_decision(second.process_id)
    assert replay.is_same, describe(replay)
    assert "coverage" in replay.same
    await world.store.save_model(replace(await world.spec(), intervals=False))
    assert await world.agent.replay_decision(second.process_id) == replay


NOT_WORSE = {"beats_champion": "not_worse", "margin": 0.1}


async def test_a_step_that_is_no_worse_has_to_keep_up_with_the_best_champion_so_far_too(world: World):
    await world.optimize()
    second = await world.optimize(gates=NOT_WORSE, seed=1)
    assert (second.status, [gate["name"] for gate in second.gates][-1]) == ("success", "champion")
    world.registry.set_alias("churn", "champion", "2")
    third = await world.optimize(gates=NOT_WORSE, seed=2)
    anchor = third.gates[-1]
    assert (anchor["name"], anchor["verdict"]) == ("anchor", "pass"), anchor
    assert "better than the best champion so far (version 1) by" in anchor["reason"]
    assert world.registry.version("churn", "anchor").version == "1"
    replay = await world.agent.replay_decision(third.process_id)
    assert replay.is_same, describe(replay)
    assert "anchor" in replay.same


async def test_a_champion_that_is_shown_to_be_better_becomes_the_anchor(world: World):
    await world.optimize()
    await world.optimize(gates=NOT_WORSE)
    await world.turn()
    second = await world.optimize(window="sliding", gates={})
    world.registry.set_alias("churn", "champion", str(second.version))
    third = await world.optimize(window="sliding", gates=NOT_WORSE, seed=1)
    assert world.registry.version("churn", "anchor").version == second.version
    assert "anchor" not in [gate["name"] for gate in third.gates]


async def test_an_anchor_that_cannot_be_compared_keeps_out_nobody_and_is_named(world: World):
    await world.optimize()
    await world.optimize(gates=NOT_WORSE, seed=1)
    world.registry.set_alias("churn", "champion", "2")
    (world.registry._copies["churn", "1"] / "schema.json").write_bytes(b"{}")
    third = await world.optimize(gates=NOT_WORSE, seed=2)
    anchor = third.gates[-1]
    assert (third.status, anchor["name"], anchor["verdict"]) == ("success", "anchor", "pass")
    assert anchor["reason"].startswith("not compared with the best champion so far: champion version 1 cannot score")
    assert (await world.agent.replay_decision(third.process_id)).is_same


async def test_a_decision_of_before_the_rules_of_intervals_had_a_number_is_judged_by_the_first(world: World):
    await world.optimize()
    entry, spec = await world.entry(), await world.store.model("churn")
    assert entry.detail["interval_rules"] == 2
    detail = {name: value for name, value in entry.detail.items() if name != "interval_rules"}
    replay = replay_gates(replace(entry, detail=detail), spec, world.agent._ports)
    assert not replay.changed, describe(replay)
    assert replay.difference is not None
    assert replay.difference.where.endswith((": low", ": high"))


async def test_of_rows_without_an_order_another_seed_means_another_holdout(world: World, tmp_path: Path):
    pq.write_table(rows(800).drop_columns(["day"]), tmp_path / "values.parquet")
    fields = {"id": "values", "task": "regression", "target": "c", "ignore": ["label"], "families": ["linear"]}
    await world.agent.register_model({**fields, "data": str(tmp_path / "values.parquet"), "folds": 2})
    result = await world.agent.optimize_model("values", "retrain", gates={"rmse_max": 5}, seed=3)
    replay = await world.agent.replay_decision(result.process_id)
    assert replay.is_same, describe(replay)
    assert "rmse_max" in replay.same
    entry, spec = await world.entry(), await world.store.model("values")
    other = replace(entry, detail={**entry.detail, "seed": 4})
    replay = replay_gates(other, spec, world.agent._ports)
    assert {"holdout", "holdout_sha256", "rows_sha256"} <= {each.where for each in replay.changed}


async def test_a_candidate_with_a_plan_of_features_replays(world: World):
    table = rows(1500)
    product = np.where(table["a"].to_numpy() * table["b"].to_numpy() > 0, "yes", "no")
    pq.write_table(table.set_column(5, "label", pa.array(product)), world.path)
    result = await world.optimize(optimization_type="features", timeout_s=60)
    assert result.features
    assert (await world.entry()).detail["plan_sha256"]
    replay = await world.agent.replay_decision(result.process_id)
    assert replay.is_same, describe(replay)


def changed_at(table: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    place = table.column_names.index(column)
    return table.set_column(place, column, pa.array(values, table.schema.field(column).type))


@pytest.mark.parametrize(
    ("column", "row", "value", "named"),
    [
        ("a", 3, 0.123, {"rows_sha256"}),
        ("a", -3, 0.123, {"holdout_sha256", "scores_sha256"}),
        ("b", -3, float("nan"), {"holdout_sha256", "scores_sha256"}),
        ("sex", -3, "x", {"holdout_sha256"}),
        ("label", -3, None, {"holdout", "holdout_sha256", "rows_sha256"}),
    ],
)
async def test_a_changed_row_is_found_and_nothing_is_decided_of_other_rows(
    world: World, column: str, row: int, value: Any, named: set[str]
):
    result = await world.optimize()
    pq.write_table(changed_at(rows(1500), column, row, value), world.path)
    replay = await world.agent.replay_decision(result.process_id)
    assert isinstance(replay, GateReplay)
    assert not replay.is_same
    places = {each.where for each in replay.changed}
    assert places <= named
    assert places & named & {"rows_sha256", "holdout", "holdout_sha256"}, describe(replay)
    assert (replay.same, replay.difference) == ((), None)


async def test_rows_that_are_gone_and_columns_that_the_model_no_longer_has_are_told(world: World):
    result = await world.optimize()
    spec = await world.spec()
    await world.store.save_model(replace(spec, ignore=("c",)))
    replay = await world.agent.replay_decision(result.process_id)
    assert {"rows_sha256", "holdout_sha256"} <= {each.where for each in replay.changed}
    await world.store.save_model(spec)
    assert (await world.agent.replay_decision(result.process_id)).is_same
    world.path.unlink()
    replay = await world.agent.replay_decision(result.process_id)
    assert "rows.parquet" in describe(replay)


@pytest.mark.parametrize(
    ("day", "named"), [(300, {"rows", "rows_sha256"}), (800, {"rows", "holdout", "holdout_sha256"})]
)
async def test_labels_that_came_since_are_rows_that_have_changed(world: World, day: int, named: set[str]):
    await world.optimize()
    await world.turn()
    result = await world.optimize()
    assert (await world.agent.replay_decision(result.process_id)).is_same
    late = rows(1, seed=9, turned=True, start=NOW + day * DAY)
    times = late["day"].cast(pa.timestamp("us", "UTC"))
    world.observations.save_matured("churn", "2023-01-01", pa.table({"day": times, "label": late["label"]}))
    replay = await world.agent.replay_decision(result.process_id)
    assert named <= {each.where for each in replay.changed}, describe(replay)


def alter_version(registry: InMemoryRegistry, version: str) -> None:
    folder = registry._copies["churn", version]
    file = next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


async def test_a_changed_bundle_of_the_candidate_or_of_the_champion_is_found(world: World):
    first = await world.optimize()
    await world.turn()
    second = await world.optimize(gates={})
    alter_version(world.registry, "1")
    replay = await world.agent.replay_decision(second.process_id)
    assert [each.where for each in replay.changed] == ["champion_scores_sha256"]
    assert "altered" in replay.changed[0].replayed
    replay = await world.agent.replay_decision(first.process_id)
    assert [each.where for each in replay.changed] == ["candidate: bundle"]
    assert replay.same == ()
    world.registry._versions["churn"].clear()
    replay = await world.agent.replay_decision(second.process_id)
    assert [each.where for each in replay.changed] == ["candidate: version"]


async def test_rows_that_were_pruned_or_erased_since_are_told_with_the_day(world: World):
    await world.optimize()
    await world.turn()
    result = await world.optimize()
    assert (await world.agent.erase("churn", ["row 5"]))["matured"] == 1
    world.clock.advance(2 * DAY)
    rules = RetentionRules(training_rows_s=900 * DAY)
    world.agent._ports = replace(world.agent._ports, retention=rules)
    (pruning,) = await world.agent.prune()
    assert pruning.rows["matured"] > 50
    replay = await world.agent.replay_decision(result.process_id)
    (rows_difference,) = [each for each in replay.changed if each.where == "rows"]
    assert rows_difference.replayed.endswith("some were erased on 2026-08-13, pruned on 2026-08-15)")
    assert (await world.agent.verify_audit()).is_whole


async def test_a_version_that_was_pruned_since_is_told_with_the_day(world: World):
    result = await world.optimize(gates={"accuracy_min": 0.9999})
    for _ in range(3):
        await world.optimize(gates={"accuracy_min": 0.9999})
    for version in await world.agent.versions("churn"):
        world.registry._versions["churn"][int(version.version) - 1] = replace(version, aliases=())
    world.registry._aliases.clear()
    world.agent._ports = replace(world.agent._ports, retention=RetentionRules(versions=2))
    (pruning,) = await world.agent.prune()
    assert pruning.plan.versions == ("2", "1")
    assert [version.version for version in await world.agent.versions("churn")] == ["4", "3"]
    replay = await world.agent.replay_decision(result.process_id)
    assert [each.where for each in replay.changed] == ["candidate: version"]
    assert replay.changed[0].replayed.endswith("some were pruned on 2023-11-14)")


async def test_another_bundle_under_the_same_number_is_found_by_its_digest(world: World):
    result = await world.optimize()
    versions = world.registry._versions["churn"]
    versions[0] = replace(versions[0], digest="0" * 64)
    replay = await world.agent.replay_decision(result.process_id)
    assert [(each.where, each.replayed) for each in replay.changed] == [("candidate: bundle", f"SHA-256 {'0' * 64}")]


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [
        ("seed", 7, "gate accuracy_min: "),
        ("alpha", 0.05, "alpha"),
        ("strategy", "conservative", "alpha"),
        ("gates", {**GATES, "accuracy_min": 0.61}, "gate accuracy_min: required"),
        ("gates", {}, "gate accuracy_min"),
        ("results", [], "gate validation samples"),
    ],
)
async def test_an_entry_that_says_another_seed_or_number_comes_out_otherwise(
    world: World, name: str, value: Any, where: str
):
    await world.optimize()
    entry, spec = await world.entry(), await world.spec()
    outside = world.agent._ports
    assert replay_gates(entry, spec, outside).is_same
    replay = replay_gates(replace(entry, detail={**entry.detail, name: value}), spec, outside)
    assert replay.changed == ()
    assert replay.difference is not None
    assert replay.difference.where.startswith(where), describe(replay)


async def test_another_seed_than_the_process_had_is_named(world: World):
    result = await world.optimize()
    process = await world.store.process(result.process_id)
    entry, spec = await world.entry(), await world.spec()
    other_process = replace(process, command={**process.command, "seed": 7})
    replay = replay_gates(entry, spec, world.agent._ports, other_process, await world.store.looks("churn"))
    assert [(each.where, each.stored, each.replayed) for each in replay.changed] == [
        (f"seed, as process {process.process_id} keeps it", "0", "7")
    ]
    assert replay_gates(entry, spec, world.agent._ports, None, ()).changed[0].where == "look 1 of the ledger"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"share": 0.05}, "look 1 of the ledger: alpha spent"),
        ({"alpha": 0.02, "share": 0.25}, "look 1 of the ledger: alpha"),
        ({"number": 2}, "look 1 of the ledger"),
    ],
)
async def test_a_look_that_the_ledger_has_otherwise_is_named(world: World, change: dict[str, Any], where: str):
    await world.optimize()
    entry, spec = await world.entry(), await world.spec()
    looks = await world.store.looks("churn")
    assert replay_gates(entry, spec, world.agent._ports, None, looks).is_same
    changed = replay_gates(entry, spec, world.agent._ports, None, [replace(looks[0], **change)]).changed
    assert changed[0].where == where


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "seven"}, "seed"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"alpha": None}, "alpha"),
        ({"alpha": float("nan")}, "alpha must be between 0 and 1"),
        ({"until": float("inf")}, "until must be a POSIX time"),
        ({"look": 0}, "look must be a whole number of at least 1"),
        ({"gates": {"accuracy_mi": 1}}, "unknown gate"),
        ({"strategy": "bold"}, "unknown strategy"),
        ({"colour": "red"}, "unknown field colour"),
    ],
)
async def test_an_entry_that_cannot_be_judged_by_is_refused_with_the_reason(
    world: World, changes: dict[str, Any], message: str
):
    await world.optimize()
    entry, spec = await world.entry(), await world.spec()
    with pytest.raises(InvalidRequest, match=f"does not hold what it takes to judge again: .*{message}"):
        replay_gates(replace(entry, detail={**entry.detail, **changes}), spec, world.agent._ports)
    older = {name: value for name, value in entry.detail.items() if name != "scores_sha256"}
    with pytest.raises(InvalidRequest, match="scores_sha256"):
        replay_gates(replace(entry, detail=older), spec, world.agent._ports)


async def test_one_altered_byte_of_the_log_fails_its_verification_and_the_replay_says_so(world: World):
    result = await world.optimize()
    links = world.store._audit_links
    place = next(number for number, line in enumerate(links) if "optimize.judged" in line)
    links[place] = links[place].replace('"seed":0', '"seed":7')
    report = await world.agent.verify_audit()
    assert report.broken is not None
    assert (report.broken.sequence, report.broken.fault) == (parse_link(links[place]).sequence, Fault.ALTERED)
    replay = await world.agent.replay_decision(result.process_id)
    assert [each.where for each in replay.changed] == [
        "audit log",
        f"seed, as process {result.process_id} keeps it",
    ]


@pytest.mark.parametrize(
    ("which", "error", "message"),
    [
        ("nobody", NotFound, "is no rollout, and no process with a decision"),
        ("", NotFound, "is no rollout, and no process"),
        ("99", NotFound, "link 99 is not in the audit log"),
        (1, InvalidRequest, "this one is 'model.register'"),
        ("9" * 5000, NotFound, "is no rollout"),
        ("²", NotFound, "is no rollout"),
    ],
)
async def test_what_is_no_decision_cannot_be_made_again(world: World, which: Any, error: type[Exception], message: str):
    await world.agent.record_audit(AuditEntry(1.0, "ann", "model.update", "churn"))
    with pytest.raises(error, match=message):
        await world.agent.replay_decision(which)


async def test_a_rollout_is_decided_again_by_its_id_or_by_any_link_of_it_and_has_to_be_what_was_logged(world: World):
    started_rollout = begin("r-1", "churn", "1", "2", RolloutPolicy(), NOW, "ann")
    aborted_rollout = replace(abort(started_rollout, "ann", "changed my mind", NOW + 1), settled=2)
    await world.store.create_rollout(started_rollout)
    await world.store.save_rollout(aborted_rollout, started_rollout)
    for change in aborted_rollout.transitions:
        await world.agent.record_audit(audit_entry(aborted_rollout, change))
    replay = await world.agent.replay_decision("r-1")
    assert isinstance(replay, RolloutReplay)
    assert (replay.is_same, replay.transitions) == (True, 2)
    last_link = len(world.store._audit_links)
    assert await world.agent.replay_decision(last_link) == replay
    by_another = replace(aborted_rollout.transitions[1], by="mallory")
    await world.store.save_rollout(
        replace(aborted_rollout, transitions=(aborted_rollout.transitions[0], by_another)), aborted_rollout
    )
    replay = await world.agent.replay_decision(str(last_link))
    where = f"transition 2: by, in link {last_link} of the audit log"
    assert replay.difference == ReplayDifference(where, "mallory", "ann")


async def test_the_command_line_tells_what_came_out(world: World, monkeypatch: pytest.MonkeyPatch):
    result = await world.optimize()
    replay = await world.agent.replay_decision(result.process_id)
    alter_version(world.registry, "1")
    unlike = await world.agent.replay_decision(result.process_id)
    for outcome, code, message in ((replay, 0, "comes out the same"), (unlike, 1, "changed: candidate: bundle")):
        monkeypatch.setattr(audit_commands, "with_agent", lambda verb, outcome=outcome: outcome)
        done = CliRunner().invoke(app, ["audit", "replay", str(result.process_id)])
        assert (done.exit_code, message in done.stdout) == (code, True), done.stdout
        done = CliRunner().invoke(app, ["audit", "replay", str(result.process_id), "--json"])
        assert (done.exit_code, json.loads(done.stdout)["is_same"]) == (code, code == 0)
