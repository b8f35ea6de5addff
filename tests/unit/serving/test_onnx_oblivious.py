"""Oblivious trees as ONNX: statistics of one category and of several columns give the answers of CatBoost itself."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.model import Task
from optagent.serving.engine import ServedModel
from optagent.serving.fusion import Fusion
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_compiler import compile_onnx
from optagent.serving.onnx_engine import OnnxEngine
from optagent.serving.parity import choose_engine, largest_difference, probe_rows
from optagent.training.encoding import encode
from optagent.training.families.catboost_model import CatBoostModel
from optagent.training.predictor import Predictor

MakePredictor = Callable[..., Predictor]
MakeRows = Callable[[Task], pa.Table]


def split_kinds(predictor: Predictor) -> set[str]:
    model = predictor.model
    assert isinstance(model, CatBoostModel)
    return {split["split_type"] for tree in model.document["oblivious_trees"] for split in tree["splits"]}


@pytest.mark.parametrize(
    ("params", "kinds"),
    [
        ({"max_ctr_complexity": 1}, {"FloatFeature", "OnlineCtr"}),
        ({"one_hot_max_size": 255}, {"FloatFeature", "OneHotFeature"}),
        ({"one_hot_max_size": 10, "max_ctr_complexity": 4}, {"FloatFeature", "OneHotFeature", "OnlineCtr"}),
    ],
)
def test_categories_by_themselves_and_by_statistics_compile_to_the_same_answers(
    params: dict[str, Any], kinds: set[str], make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("catboost", Task.BINARY, rounds=40, **params)
    assert split_kinds(predictor) == kinds
    compiled = compile_onnx(predictor)
    assert compiled.engine is not None, compiled.reason
    rows = probe_rows(predictor, encode(make_served_rows(Task.BINARY), predictor.schema), compiled.thresholds)
    assert largest_difference(predictor.scores(rows), compiled.engine.scores(rows)) < 1e-12


def test_a_category_that_training_never_saw_is_answered(
    make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("catboost", Task.BINARY)
    served = make_served_rows(Task.BINARY)
    unseen = served.set_column(served.schema.get_field_index("city"), "city", pa.array(["Atlantis"] * len(served)))
    compiled = compile_onnx(predictor)
    assert compiled.engine is not None
    scores = compiled.engine.scores(encode(unseen, predictor.schema))
    np.testing.assert_allclose(scores, predictor.probabilities(unseen), rtol=1e-12)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("category_statistics.MOST_CELLS", r"the statistics of its categories have [\d,]+ cells, the limit is 100"),
        ("onnx_compiler.MOST_NODES", r"[\d,]+ nodes, the limit is 100"),
    ],
)
def test_a_model_with_too_much_to_look_up_serves_itself(
    limit: str, reason: str, make_predictor: MakePredictor, make_served_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"optagent.serving.{limit}", 100)
    predictor = make_predictor("catboost", Task.BINARY)
    rows = encode(make_served_rows(Task.BINARY), predictor.schema)
    choice = choose_engine(predictor, rows)
    assert isinstance(choice.engine, NativeEngine)
    assert re.search(reason, choice.reason), choice.reason


def test_many_rows_are_scored_in_blocks_that_fit_in_the_cache(
    make_predictor: MakePredictor, make_served_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = make_predictor("catboost", Task.MULTICLASS)
    rows = encode(make_served_rows(Task.MULTICLASS), predictor.schema)
    monkeypatch.setattr("optagent.serving.onnx_oblivious._BITS_AT_ONCE", 12 * 6 * 7)
    engine = compile_onnx(predictor).engine
    assert isinstance(engine, OnnxEngine)
    assert engine.rows_at_once == 7
    for count in (1, 7, 8, 300):
        np.testing.assert_allclose(engine.scores(rows[:count]), predictor.scores(rows[:count]), rtol=1e-12)
    fused = Fusion([ServedModel(predictor.schema, engine, name) for name in "12"])
    fused.make()
    assert fused.engine is not None
    first, second = fused.engine.scores_of_each(rows)
    np.testing.assert_array_equal(first, engine.scores(rows))
    np.testing.assert_array_equal(second, first)


def test_trees_that_ask_nothing_give_their_one_leaf(make_predictor: MakePredictor) -> None:
    trained = make_predictor("catboost", Task.REGRESSION)
    assert isinstance(trained.model, CatBoostModel)
    tree = {"leaf_values": [2.5], "leaf_weights": [300.0], "splits": []}
    model = CatBoostModel({**trained.model.document, "oblivious_trees": [tree]}, Task.REGRESSION)
    predictor = Predictor(trained.manifest, trained.schema, model)
    rows = np.zeros((3, len(trained.schema.columns)), dtype=np.float32)
    engine = compile_onnx(predictor).engine
    assert engine is not None
    np.testing.assert_allclose(engine.scores(rows), predictor.scores(rows), rtol=1e-12)
