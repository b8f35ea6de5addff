"""Slot renewal: an optimization of a mixed model ends with new models in its slots, whatever they are worth."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from optagent.domain.mixture import JOINED
from optagent.domain.optimization import REJECTED, SUCCESS
from optagent.domain.slot import SEARCH_SLOT
from optagent.loop.mixture import renew
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.refit import prepare_slot
from tests.fakes.mixtures import MixedTraffic

OPEN = {"enable_security_scan": False, "max_latency_ms": 1e6, "min_validation_samples": 10}


async def record_of(traffic: MixedTraffic):
    return await traffic.ports.store.mixture("churn")


async def test_every_trained_slot_gets_a_model_of_the_newest_rows(
    begun_traffic: MixedTraffic, make_rows: Any, rows_file: Path
) -> None:
    pq.write_table(make_rows(4_000), rows_file)
    result = await begun_traffic.agent.optimize_model("churn", "retrain", gates=OPEN)
    record = await record_of(begun_traffic)
    assert (result.status, result.verdict) == (SUCCESS, "pass")
    assert list(result.slots) == ["all", "1/4", "1/16"]
    assert dict(record.versions) == dict(result.slots)
    sizes = {name: training.rows for name, training in record.trained.items()}
    assert sizes == {"all": 4_000, "1/4": 1_000, "1/16": 400}
    champion = begun_traffic.ports.registry.version("churn", "champion").version
    assert champion not in result.slots.values()


async def test_new_models_inherit_their_slots_records_and_answer_at_the_next_pass(
    begun_traffic: MixedTraffic,
) -> None:
    before = await record_of(begun_traffic)
    result = await begun_traffic.agent.optimize_model("churn", "retrain", gates=OPEN)
    after = await record_of(begun_traffic)
    assert after.state == before.state
    begun_traffic.clock.advance(3600.0)
    await begun_traffic.supervise()
    weights = await begun_traffic.weights()
    assert weights is not None
    standing = dict(zip(weights.slots, weights.versions, strict=True))
    assert {name: standing[name] for name in result.slots} == dict(result.slots)


async def test_growth_renews_the_due_slots_alone(begun_traffic: MixedTraffic) -> None:
    await begun_traffic.agent.optimize_model("churn", "retrain", gates=OPEN)
    before = await record_of(begun_traffic)
    trained = {name: replace(each, learned=each.learned - 10**6) for name, each in before.trained.items()}
    trained = {**before.trained, "1/16": trained["1/16"], "all": replace(before.trained["all"], rows=10**9)}
    await begun_traffic.ports.store.save_mixture(replace(before, trained=trained), before)
    result = await begun_traffic.agent.optimize_model("churn", "retrain", gates=OPEN, trigger="growth", reason="rows")
    assert list(result.slots) == ["1/16"]


async def test_what_the_hard_gates_refuse_enters_no_slot(begun_traffic: MixedTraffic) -> None:
    before = await record_of(begun_traffic)
    result = await begun_traffic.agent.optimize_model(
        "churn", "retrain", gates={**OPEN, "auc_min": 1.0, "strict": True}
    )
    assert result.status == REJECTED
    assert "slot all: auc_min" in str(result.error_message)
    assert await record_of(begun_traffic) == before


async def test_a_recipe_that_a_search_found_gets_a_slot_beside_the_others(begun_traffic: MixedTraffic) -> None:
    result = await begun_traffic.agent.optimize_model("churn", "tune", trials=2, gates=OPEN)
    record = await record_of(begun_traffic)
    assert list(result.slots) == [SEARCH_SLOT]
    assert record.state["slots"][-1] == SEARCH_SLOT
    assert record.events[-1].kind == JOINED
    await begun_traffic.run(1)
    assert (await begun_traffic.agent.replay_mixture("churn")).is_same


async def test_renewals_are_in_the_audit_log(begun_traffic: MixedTraffic) -> None:
    result = await begun_traffic.agent.optimize_model("churn", "retrain", gates=OPEN)
    entries = [entry for entry in await begun_traffic.ports.store.audit() if entry.action == "mixture.renewed"]
    assert entries[0].detail["slots"] == dict(result.slots)


async def test_all_slots_together_keep_the_limit_of_latency(begun_traffic: MixedTraffic) -> None:
    result = await begun_traffic.agent.optimize_model("churn", "retrain", gates={**OPEN, "max_latency_ms": 4e5})
    (latency,) = [gate for gate in result.gates if gate["name"] == "latency"]
    assert latency["required"] == 1e5


async def test_a_model_of_other_classes_enters_no_slot(begun_traffic: MixedTraffic, monkeypatch: Any) -> None:
    def prepare_other_classes(*arguments: Any) -> PreparedRows:
        of_slot = prepare_slot(*arguments)
        return replace(of_slot, schema=replace(of_slot.schema, classes=("maybe", "yes")))

    monkeypatch.setattr(renew, "prepare_slot", prepare_other_classes)
    before = await record_of(begun_traffic)
    result = await begun_traffic.agent.optimize_model("churn", "retrain", gates=OPEN)
    assert result.status == REJECTED
    assert "other classes than the champion's" in (result.error_message or "")
    assert await record_of(begun_traffic) == before
