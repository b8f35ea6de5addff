"""Fused graphs: the answers of each model are those of its own engine, bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.serving.evidence_record import count_outputs
from optagent.serving.onnx_compiler import compile_onnx
from optagent.serving.onnx_engine import OnnxEngine
from optagent.serving.onnx_fused import FusedEngine, fuse_models
from optagent.training.encoding import encode
from optagent.training.predictor import Predictor

FAMILIES = ("lightgbm", "xgboost", "random_forest", "linear", "hist_gradient_boosting", "catboost")


@pytest.mark.parametrize("task", list(Task))
def test_models_of_any_family_answer_in_one_call_as_each_does_alone(
    task: Task, make_predictor: Callable[..., Predictor], make_served_rows: Callable[[Task], pa.Table]
) -> None:
    predictors = [make_predictor(family, task) for family in FAMILIES]
    schema = predictors[0].schema
    engines = [compile_onnx(predictor).engine for predictor in predictors]
    outputs = count_outputs(task, schema.classes)
    fused = FusedEngine([graph_of(engine) for engine in engines], len(schema.columns), outputs)
    rows = encode(make_served_rows(task), schema)
    for x in (rows, rows[:1]):
        for engine, scores in zip(engines, fused.scores_of_each(x), strict=True):
            assert engine is not None
            np.testing.assert_array_equal(scores, engine.scores(x))


def test_a_model_may_stand_twice(make_predictor: Callable[..., Predictor]) -> None:
    predictor = make_predictor("lightgbm", Task.BINARY)
    graph = graph_of(compile_onnx(predictor).engine)
    first, second = FusedEngine([graph, graph], len(predictor.schema.columns), 1).scores_of_each(
        np.zeros((3, len(predictor.schema.columns)), np.float32)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("model", [b"\x3b", b"\x3a\xff", b"no model"])
def test_what_is_no_model_is_refused(model: bytes) -> None:
    with pytest.raises(InvalidRequest):
        fuse_models([model, model])


def graph_of(engine: Any) -> bytes:
    assert isinstance(engine, OnnxEngine)
    return engine.graph
