"""Oblivious trees as ONNX: statistics of one category and of several columns give the answers of CatBoost itself."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.model import Task
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_compiler import compile_onnx
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
