"""The examples do what their README says."""

import runpy
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optagent.training.bundle import load_bundle
from optagent.training.families.user_family import user_family

OWN_FAMILY = Path(__file__).parents[2] / "examples" / "own_family"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "own_family"
    shutil.copytree(OWN_FAMILY, folder, ignore=shutil.ignore_patterns("__pycache__", "rows.csv"))
    monkeypatch.syspath_prepend(str(folder))
    runpy.run_path(str(folder / "make_rows.py"), run_name="__main__")
    user_family.cache_clear()
    return folder


async def test_a_family_of_ones_own_is_tuned_registered_and_loaded(agent, example, tmp_path):
    await agent.register_model(example / "model.yaml")
    result = await agent.tune_hyperparameters("parts", method="random", trials=8)
    assert "error" not in result
    assert (result["failed"], result.aliases) == (0, ("champion",))
    process = await agent.process(result.process_id)
    assert process.result is not None
    version = (await agent.versions("parts"))[0]
    assert version.tags["family"] in ("nearest_centroid:NearestCentroid", "linear")


@pytest.mark.parametrize("name", ["NearestCentroid", "SteppedCentroid"])
async def test_the_version_of_an_own_family_predicts_well_after_loading(agent, example, tmp_path, name):
    path = f"nearest_centroid:{name}"
    fields = {"id": "parts", "task": "multiclass", "data": str(example / "rows.csv"), "target": "kind"}
    await agent.register_model({**fields, "families": [path]})
    result = await agent.tune_hyperparameters("parts", method="random", trials=3)
    assert result.best_params["family"] == path
    version = (await agent.versions("parts"))[0]
    bundle = agent._ports.registry.fetch(version, tmp_path)
    assert {file.suffix for file in (bundle / "model").iterdir()} == {".npy", ".json"}
    rows = pd.read_csv(example / "rows.csv")
    answer = load_bundle(bundle, version.digest).predict(rows)
    assert np.mean(answer["prediction"] == rows["kind"]) > 0.7
    again = await agent.tune_hyperparameters("parts", method="random", trials=3)
    assert again.baseline_name == "champion (version 1)"
