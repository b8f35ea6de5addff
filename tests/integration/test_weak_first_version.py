"""A first version that is worse than default parameters or than one answer becomes champion with a warning."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def noise(churn, make_rows, tmp_path):
    """A model of labels that no column tells."""
    rows = make_rows()
    labels = np.random.default_rng(1).choice(["no", "yes"], rows.num_rows)
    rows = rows.set_column(rows.schema.names.index("label"), "label", pa.array(labels))
    pq.write_table(rows, tmp_path / "noise.parquet")
    return {**churn, "data": str(tmp_path / "noise.parquet")}


async def test_a_search_says_that_its_first_version_is_worse(agent, noise):
    await agent.register_model(noise)
    result = await agent.tune_hyperparameters("churn", trials=2, method="random")
    assert result.aliases == ("champion",)
    assert any("worse than" in note and "default parameters" in note for note in result.notes)
    assert any("worse than the 0.5 of one answer for every row" in note for note in result.notes)
    (version,) = await agent.versions("churn")
    assert len(version.warnings) == 2


async def test_an_optimization_says_that_its_first_version_is_worse_than_one_answer(agent, noise):
    await agent.register_model(noise)
    result = await agent.optimize_model("churn", "full", trials=2)
    assert any("of one answer for every row" in note for note in result.notes)


async def test_a_version_that_has_learned_has_no_warning(agent, churn):
    await agent.register_model(churn)
    result = await agent.tune_hyperparameters("churn", trials=4)
    assert not any("one answer" in note for note in result.notes)
    (version,) = await agent.versions("churn")
    assert not any("one answer" in warning for warning in version.warnings)
