"""The rival of a candidate: a version that has not learned the rows on which the two are compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.domain.dataset import FileSource
from optagent.domain.gate import Gates
from optagent.domain.model import MEASURED_AS, ModelSpec, ModelVersion, Task
from optagent.loop.gates.rival import find_rival
from optagent.loop.train.build import build_recipe
from optagent.loop.train.holdout import HoldoutTest
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.training_rows import TrainingRows
from optagent.training.bundle import save_bundle
from optagent.training.metrics import metric_named
from optagent.training.recipe import Recipe

DAY = 86_400.0
COUNT = 1000
SPEC = ModelSpec("churn", Task.BINARY, FileSource("rows"), "label", time_column="day", folds=2)
GATES = Gates(min_validation_samples=50)


@pytest.fixture(scope="module")
def prepared() -> PreparedRows:
    """Rows of a day each; the holdout begins at day 800."""
    rng = np.random.default_rng(1)
    days = (np.arange(COUNT) * DAY * 1e6).astype("int64").astype("datetime64[us]")
    label = np.where(rng.random(COUNT) < 0.5, "no", "yes")
    return TrainingRows(SPEC, pa.table({"day": days, "a": rng.normal(size=COUNT), "label": label})).prepare(0)


@pytest.fixture
def registry() -> InMemoryRegistry:
    return InMemoryRegistry(ManualClock(1.0))


@pytest.fixture
def test(prepared: PreparedRows) -> HoldoutTest:
    return HoldoutTest(prepared, metric_named("log_loss", Task.BINARY), 0.05, 0)


def register(
    registry: InMemoryRegistry, prepared: PreparedRows, folder: Path, until_day: float | None, twin: str = ""
) -> ModelVersion:
    """A version that has learned up to a day, or does not tell."""
    built = build_recipe(Recipe("r", "linear", {}, 20), prepared, 0, 1)
    facts = {"model_id": "churn", "task": SPEC.task, "params": {}, "rounds": 20, "created_at": 1.0}
    facts |= {"data": prepared.facts(), "trained_until": None if until_day is None else until_day * DAY}
    save_bundle(folder / f"{until_day}", built.model, built.family, prepared.schema, facts)
    return registry.register("churn", folder / f"{until_day}", {}, {MEASURED_AS: twin} if twin else {})


def test_without_a_champion_there_is_no_rival(registry: InMemoryRegistry, test: HoldoutTest):
    rival = find_rival(None, GATES, test, registry)
    assert (rival.version, rival.baseline, rival.note) == (None, None, None)


def test_a_champion_is_compared_on_the_rows_that_it_has_not_learned(
    registry: InMemoryRegistry, prepared: PreparedRows, test: HoldoutTest, tmp_path: Path
):
    champion = register(registry, prepared, tmp_path, 899)
    rival = find_rival(champion, GATES, test, registry)
    assert rival.version == champion
    assert rival.baseline is not None
    assert rival.baseline.rows is not None
    assert rival.baseline.rows.tolist() == list(range(100, 200))
    assert len(rival.baseline.prediction) == 200


def test_a_champion_that_has_learned_nearly_all_of_the_holdout_is_no_rival_and_the_reason_has_the_numbers(
    registry: InMemoryRegistry, prepared: PreparedRows, test: HoldoutTest, tmp_path: Path
):
    rival = find_rival(register(registry, prepared, tmp_path, 989), GATES, test, registry)
    assert rival.baseline is None
    assert rival.note == (
        "only 10 of the 200 rows of the holdout are later than all that champion version 1 has learned: it takes 50 to"
        " compare it"
    )


def test_before_a_refit_the_measured_version_stands_for_a_champion_that_was_trained_again(
    registry: InMemoryRegistry, prepared: PreparedRows, test: HoldoutTest, tmp_path: Path
):
    measured = register(registry, prepared, tmp_path, 750)
    champion = register(registry, prepared, tmp_path, 950, measured.version)
    rival = find_rival(champion, GATES, replace(test, before_refit=True), registry)
    assert rival.version == measured
    assert rival.baseline is not None
    assert rival.baseline.rows is None
    assert rival.baseline.name == "version 1, as which champion version 2 was measured"
    # A candidate that is deployed as it is meets the champion as it is.
    own = find_rival(champion, replace(GATES, min_validation_samples=49), test, registry)
    assert own.version == champion
    assert own.baseline is not None
    assert own.baseline.rows is not None
    assert len(own.baseline.rows) == 49


def test_where_the_measured_version_cannot_be_compared_the_champion_is(
    registry: InMemoryRegistry, prepared: PreparedRows, test: HoldoutTest, tmp_path: Path
):
    gone = register(registry, prepared, tmp_path, 900, "7")
    rival = find_rival(gone, GATES, replace(test, before_refit=True), registry)
    assert rival.version == gone
    assert rival.baseline is not None
    newer = register(registry, prepared, tmp_path, 980)
    champion = register(registry, prepared, tmp_path, 940, newer.version)
    rival = find_rival(champion, GATES, replace(test, before_refit=True), registry)
    assert rival.version == champion
    assert rival.baseline is not None
    assert rival.baseline.rows is not None
    assert len(rival.baseline.rows) == 59


def test_a_champion_that_does_not_tell_what_it_learned_is_compared_on_all_rows_with_a_note(
    registry: InMemoryRegistry, prepared: PreparedRows, test: HoldoutTest, tmp_path: Path
):
    rival = find_rival(register(registry, prepared, tmp_path, None), GATES, test, registry)
    assert rival.baseline is not None
    assert rival.baseline.rows is None
    assert "does not tell which rows it has learned" in str(rival.note)
