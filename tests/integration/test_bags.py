"""Bags through the loop: a search tries them at its end, a retraining makes them again, and a limit is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent.loop.train.load import load_version
from optagent.training.families.ensemble import EnsembleModel

MODELS = 4


@pytest.fixture
def noisy(tmp_path: Path) -> dict[str, Any]:
    """Rows of which a small forest learns something else by each seed."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 8))
    y = x[:, 0] + 2 * np.sin(2 * x[:, 1]) * x[:, 2] + 0.3 * rng.normal(size=len(x))
    rows = pa.table({f"x{index}": x[:, index] for index in range(8)} | {"y": y})
    pq.write_table(rows, tmp_path / "rows.parquet")
    fields = {"task": "regression", "target": "y", "metric": "rmse", "folds": 2, "families": ["extra_trees"]}
    return {"id": "noisy", "data": str(tmp_path / "rows.parquet"), **fields}


def bag_of(agent: Any, version: str) -> EnsembleModel:
    model = load_version(agent._ports.registry.version("noisy", version), agent._ports.registry).model
    assert isinstance(model, EnsembleModel)
    return model


async def test_a_bag_that_gains_is_registered_as_one_model_and_trained_again_as_a_bag(agent, noisy):
    await agent.register_model(noisy)
    result = await agent.tune_hyperparameters("noisy", trials=1, bag=MODELS)
    assert "error" not in result
    assert any(note.startswith(f"a bag: {MODELS} models of") for note in result.notes), result.notes
    first = bag_of(agent, result.version)
    assert first.combined.weights == pytest.approx((1 / MODELS,) * MODELS)
    await agent.set_alias("noisy", "champion", result.version)

    again = await agent.optimize_model("noisy", "retrain")
    assert any("trained again: extra_trees" in note for note in again.notes), again.notes
    assert bag_of(agent, again.version).combined == first.combined

    tuned = await agent.tune_hyperparameters("noisy", trials=1)  # the champion's recipe is asked first
    assert "error" not in tuned


async def test_a_bag_is_not_tried_where_nobody_asks_for_one(agent, noisy):
    await agent.register_model(noisy)
    result = await agent.tune_hyperparameters("noisy", trials=1)
    assert not [note for note in result.notes if "bag" in note]


async def test_an_optimization_tries_a_bag_at_the_end_of_its_search(agent, noisy):
    await agent.register_model(noisy)
    result = await agent.optimize_model("noisy", "full", trials=1, ensemble=2, bag=MODELS)
    assert any(note.startswith(f"a bag: {MODELS}") for note in result.notes), result.notes
    assert len(bag_of(agent, result.version).members) == MODELS


async def test_the_latency_gate_leaves_a_bag_that_is_too_slow(agent, noisy):
    await agent.register_model(noisy)
    result = await agent.optimize_model(
        "noisy", "full", trials=1, ensemble=2, bag=MODELS, gates={"max_latency_ms": 0.0001}
    )
    assert any("the latency gate lets 0.0001 ms through" in note for note in result.notes), result.notes


@pytest.mark.parametrize("models", [1, 51, 2.5])
async def test_a_bag_of_another_size_is_refused_by_name(agent, noisy, models):
    await agent.register_model(noisy)
    result = await agent.tune_hyperparameters("noisy", bag=models)
    assert "bag" in result["error"]
    assert str(models) in result["error"]
