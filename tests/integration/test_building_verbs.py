"""Building verbs: ensembles and features by the agent, with every port in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent.domain.command import EnsembleModels
from optagent.domain.process import Status
from optagent.loop.train.load import load_version
from optagent.serving.onnx_compiler import compile_onnx
from optagent.serving.parity import TOLERANCE, largest_difference
from optagent.training.encoding import encode
from optagent.training.families.engineered import EngineeredModel
from optagent.training.families.ensemble import EnsembleModel

ROWS = 8_000


def complementary(seed: int = 0) -> pa.Table:
    """Rows with one pattern that only a linear model finds, and one that only trees find."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, 20))
    signal = 2 * x[:, :18] @ np.ones(18) / np.sqrt(18) + 1.3 * np.sign(x[:, 18]) * np.sign(x[:, 19])
    label = np.where(signal + rng.logistic(size=ROWS) > 0, "yes", "no")
    return pa.table({f"x{index}": x[:, index] for index in range(20)} | {"label": label})


def products(seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(5_000, 5))
    label = np.where(2.5 * x[:, 0] * x[:, 1] + x[:, 2] + rng.logistic(size=len(x)) > 0, "yes", "no")
    return pa.table({f"x{index}": x[:, index] for index in range(5)} | {"label": label})


def shops(seed: int = 0) -> pa.Table:
    """Rows whose label depends on the pair of shop and town."""
    rng = np.random.default_rng(seed)
    shop, town = rng.integers(0, 10, (2, 4_000))
    pull = np.random.default_rng(7).normal(size=(10, 10))[shop, town]
    label = np.where(2 * pull + rng.logistic(size=4_000) > 0, "yes", "no")
    texts = {"shop": np.char.add("s", shop.astype(str)), "town": np.char.add("t", town.astype(str))}
    return pa.table(texts | {"x": rng.normal(size=4_000), "label": label})


def spec(model_id: str, path: Path, family: str, **changes: Any) -> dict[str, Any]:
    fields = {"task": "binary", "target": "label", "folds": 2, "metric": "log_loss"}
    return {"id": model_id, "data": str(path), "families": [family], **fields, **changes}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pq.write_table(complementary(), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


@pytest.fixture
async def two_models(agent: Any, path: Path) -> Any:
    """Two models of the same rows."""
    for model_id, family in (("trees", "lightgbm"), ("lines", "linear")):
        await agent.register_model(spec(model_id, path, family))
    return agent


@pytest.fixture
async def bases(two_models: Any) -> Any:
    """Each of them with a champion."""
    agent = two_models
    for model_id in ("trees", "lines"):
        result = await agent.tune_hyperparameters(model_id, method="random", trials=1)
        await agent.set_alias(model_id, "champion", result.version)
    return agent


async def test_an_ensemble_that_is_better_is_registered_and_answers_as_one_model(bases):
    result = await bases.create_ensemble(base_models=["trees", "lines"], ensemble_method="weighted")
    assert "error" not in result
    assert result["accepted"], result["reason"]
    assert 0 < result["diversity_score"] < 1
    assert result["metrics"]["log_loss"] < result["single_metrics"]["log_loss"]
    assert result.improvements["log_loss"].low > 0
    assert (result.model_id, result.aliases) == ("trees", ("challenger",) if result.verdict == "pass" else ())
    assert result.baseline_name == "champion (version 1)"
    version = (await bases.versions("trees"))[0]
    assert (version.version, version.tags["form"]) == (result.version, "ensemble")
    predictor = load_version(version, bases._ports.registry)
    assert isinstance(predictor.model, EnsembleModel)
    assert set(predictor.model.members) == {"trees", "lines"} == set(result["weights"])
    table = complementary(seed=9)
    probability = predictor.predict(table)["probability_yes"].to_numpy()
    right = (probability > 0.5) == (table["label"].to_numpy(zero_copy_only=False) == "yes")
    assert right.mean() > 0.7


async def test_an_ensemble_that_is_champion_is_trained_again_and_its_weights_are_fitted_anew(bases):
    result = await bases.create_ensemble(["trees", "lines"])
    await bases.set_alias("trees", "champion", result.version)
    again = await bases.optimize_model("trees", "retrain", gates={"beats_champion": False})
    assert (again.status, again.family) == ("success", "ensemble"), again.error_message
    assert any(note.startswith(("fitted anew:", "the weights are kept:")) for note in again.notes), again.notes
    assert set(again.params["weights"]) <= {"trees", "lines"}
    nested = await bases.create_ensemble(["trees", "lines"])
    assert "it is an ensemble itself" in nested["error"]


async def test_an_ensemble_can_be_queued_and_become_a_version_of_a_third_model(bases, path: Path):
    await bases.register_model(spec("both", path, "lightgbm"))
    process = await bases.submit(EnsembleModels(("trees@champion", "lines/1"), "auto", model_id="both"))
    await bases.run_queued(process.process_id)
    process_now = await bases.process(process.process_id)
    assert (process_now.kind, process_now.status, process_now.model_id) == ("ensemble", Status.SUCCEEDED, "both")
    assert [event.detail["stage"] for event in process_now.history if event.kind == "stage"] == [
        "prepare",
        "ensemble",
        "validate",
        "register",
    ]
    assert process_now.result is not None
    assert (process_now.result["accepted"], process_now.result["aliases"]) == (True, ["champion"])
    assert process_now.result["baseline_name"].startswith("the best single model")
    assert len(process_now.result["options"]) > 3


async def test_one_that_is_not_better_is_not_registered_and_the_answer_says_why(bases):
    result = await bases.tune_hyperparameters("lines", method="random", trials=1, seed=3)
    assert "error" not in result
    result = await bases.create_ensemble(["lines/1", "lines/2"])
    assert result["accepted"] is False
    assert "is kept" in result["reason"]
    assert len(await bases.versions("lines")) == 2


@pytest.mark.parametrize(
    ("base_models", "arguments", "message"),
    [
        (["trees"], {}, "at least 2 models, got ['trees']"),
        (["trees", "trees"], {}, "named twice: trees"),
        (["trees", "nobody"], {}, "nobody"),
        (["trees", "li nes"], {}, "MODEL, MODEL@ALIAS or MODEL/VERSION is needed, got 'li nes'"),
        (["trees", "lines"], {"ensemble_method": "magic"}, "unknown ensemble method 'magic'"),
        (["trees", "lines"], {"metrics": ["rmse"]}, "rmse"),
        (["trees", "lines"], {"max_latency_ms": 0.0}, "max_latency_ms must be a number above 0, got 0.0"),
        (["trees", "lines"], {}, "trees alias champion: not in the registry"),
        (["trees", "lines"], {"model_id": "nobody"}, "nobody"),
    ],
)
async def test_what_cannot_be_combined_is_refused_with_the_reason(
    two_models, base_models: list[str], arguments: dict[str, Any], message: str
):
    result = await two_models.create_ensemble(base_models, **arguments)
    assert message in result["error"]


async def test_a_version_that_is_missing_and_a_budget_that_none_meets_are_told(bases):
    assert "lines version 7" in (await bases.create_ensemble(["trees", "lines/7"]))["error"]
    result = await bases.create_ensemble(["trees", "lines"], max_latency_ms=1e-6)
    assert "no model meets 1e-06 latency_ms" in result["error"]
    assert len(await bases.versions("trees")) == 1


async def test_models_of_other_rows_are_refused(two_models, tmp_path: Path):
    pq.write_table(complementary(seed=1), tmp_path / "others.parquet")
    await two_models.register_model(spec("others", tmp_path / "others.parquet", "linear"))
    result = await two_models.create_ensemble(["trees", "others"])
    assert "others has the data" in result["error"]


async def test_a_search_can_end_with_an_ensemble_of_its_own_trials(bases, path: Path):
    await bases.register_model(spec("mixed", path, "lightgbm") | {"families": ["lightgbm", "linear"]})
    result = await bases.tune_hyperparameters("mixed", method="random", trials=4, ensemble=4)
    assert "error" not in result
    version = (await bases.versions("mixed"))[0]
    assert version.tags["form"] == "ensemble", result.notes
    assert any("models together have a log_loss" in note for note in result.notes)
    assert result.best_params is not None
    assert result.best_params["family"] == "ensemble"
    again = await bases.tune_hyperparameters("mixed", method="random", trials=2, ensemble=2)
    assert again.baseline_name == "champion (version 1)"


async def test_features_that_are_proven_become_a_version_and_stay_with_later_searches(agent, tmp_path: Path):
    pq.write_table(products(), tmp_path / "products.parquet")
    await agent.register_model(spec("planted", tmp_path / "products.parquet", "linear", folds=3))
    await agent.tune_hyperparameters("planted", method="random", trials=1)
    result = await agent.engineer_features("planted")
    assert "error" not in result
    assert result["accepted"], result["reason"]
    assert "x0 * x1" in result.steps
    assert (result.verdict, result.aliases) == ("pass", ("challenger",))
    await agent.set_alias("planted", "champion", "challenger")
    predictor = load_version((await agent.versions("planted"))[0], agent._ports.registry)
    assert isinstance(predictor.model, EngineeredModel)
    later = await agent.tune_hyperparameters("planted", method="random", trials=1, seed=5)
    assert (later.verdict, later.baseline_name) != ("fail", "default parameters")
    newest = (await agent.versions("planted"))[0]
    assert (newest.tags["form"], newest.tags["family"]) == ("engineered", "linear")


async def test_a_mean_of_the_target_is_served_by_the_graph_as_the_model_itself_answers(agent, tmp_path: Path):
    pq.write_table(shops(), tmp_path / "shops.parquet")
    await agent.register_model(spec("shops", tmp_path / "shops.parquet", "linear", folds=3))
    result = await agent.engineer_features("shops")
    assert "error" not in result
    assert result["accepted"], result["reason"]
    assert "target mean of shop and town" in result.steps
    predictor = load_version((await agent.versions("shops"))[0], agent._ports.registry)
    compiled = compile_onnx(predictor)
    assert compiled.engine is not None, compiled.reason
    others = shops(seed=3).set_column(0, "shop", pa.array(["s1", None, "unknown", "s2"] * 1_000))
    rows = encode(others, predictor.schema)
    assert largest_difference(predictor.model.predict(rows), compiled.engine.scores(rows)) < TOLERANCE
    later = await agent.tune_hyperparameters("shops", method="random", trials=1, seed=5)
    assert "error" not in later


async def test_where_no_feature_is_proven_nothing_is_registered(agent, tmp_path: Path):
    rng = np.random.default_rng(2)
    noise = {f"x{index}": rng.normal(size=900) for index in range(3)}
    pq.write_table(pa.table(noise | {"label": rng.choice(["yes", "no"], 900)}), tmp_path / "noise.parquet")
    await agent.register_model(spec("noise", tmp_path / "noise.parquet", "linear"))
    result = await agent.engineer_features("noise", timeout_s=60)
    assert (result["accepted"], result.version) == (False, None)
    assert await agent.versions("noise") == []
    assert "error" in await agent.engineer_features("noise", max_features=0)
    assert "nobody" in (await agent.engineer_features("nobody"))["error"]
