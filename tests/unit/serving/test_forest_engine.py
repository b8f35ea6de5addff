"""Forest engine: the bits of ONNX Runtime for every forest that it takes on, and the engine itself for all others."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.serving.engine import Engine
from optagent.serving.forest_engine import FEW_ROWS, ForestEngine, find_fast_engine
from optagent.serving.onnx_compiler import compile_onnx
from optagent.serving.onnx_engine import OnnxEngine
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import FAMILIES
from optagent.training.manifest import FORMAT, Manifest
from optagent.training.predictor import Predictor

COLUMNS, ROWS = 5, 3_001


def compiled_engine(family: str, task: Task, rounds: int = 12) -> Engine:
    """A small model of five numbers, some of them missing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(COLUMNS, 600))
    signal = x[0] - x[1] ** 2 + rng.normal(size=600)
    labels = {
        Task.BINARY: np.where(signal > 0, "yes", "no"),
        Task.MULTICLASS: np.array(["low", "mid", "high"])[np.digitize(signal, [-1, 1])],
        Task.REGRESSION: signal,
    }
    columns = {f"c{at}": pa.array(values, mask=rng.random(600) < 0.1) for at, values in enumerate(x)}
    table = pa.table({**columns, "label": labels[task]})
    schema = fit_schema(table, ModelSpec("m", task, FileSource("rows.csv"), "label"))
    data = load_data(table, schema)
    fit = FAMILIES[family].start({}, data, np.arange(len(data)), seed=1)
    fit.advance(rounds)
    manifest = Manifest(FORMAT, "m", task, family, {}, rounds, schema.classes, schema.names, 0.0)
    engine = compile_onnx(Predictor(manifest, schema, fit.model())).engine
    assert engine is not None
    return engine


def some_rows(count: int = ROWS) -> Any:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(count, COLUMNS)).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    return x


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("family", ["lightgbm", "hist_gradient_boosting"])
def test_scores_have_the_bits_of_the_engine(family: str, task: Task) -> None:
    engine = compiled_engine(family, task)
    forest = find_fast_engine(engine, COLUMNS)
    assert isinstance(forest, ForestEngine)
    for count in (1, FEW_ROWS, FEW_ROWS + 1, ROWS):
        np.testing.assert_array_equal(forest.scores(some_rows(count)), engine.scores(some_rows(count)))


@pytest.mark.parametrize("family", ["xgboost", "random_forest", "linear", "catboost"])
def test_models_of_another_kind_keep_their_engine(family: str) -> None:
    engine = compiled_engine(family, Task.BINARY)
    assert find_fast_engine(engine, COLUMNS) is engine


def test_an_engine_whose_bits_differ_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = compiled_engine("lightgbm", Task.BINARY)
    monkeypatch.setattr(ForestEngine, "scores", lambda self, x: np.nextafter(engine.scores(x), 2.0))
    assert find_fast_engine(engine, COLUMNS) is engine


def test_a_graph_that_was_too_large_to_keep_is_left_to_its_engine() -> None:
    engine = compiled_engine("lightgbm", Task.BINARY)
    assert isinstance(engine, OnnxEngine)
    engine.graph = b""
    assert find_fast_engine(engine, COLUMNS) is engine
