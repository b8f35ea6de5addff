"""Served model: its answers are the labels of the predictor, whatever the engine and the form of the rows."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from optagent.arrays import Matrix, Prediction
from optagent.domain.model import Task
from optagent.errors import Infeasible, InvalidData
from optagent.serving.engine import ServedModel
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_compiler import compile_onnx
from optagent.training.families.registry import FAMILIES
from optagent.training.predictor import Predictor

MakePredictor = Callable[..., Predictor]
MakeRows = Callable[[Task], pa.Table]


class Fixed:
    """An engine that always answers the same."""

    name = "fixed"
    blocks = False

    def __init__(self, scores: Prediction) -> None:
        self._scores = scores

    def scores(self, x: Matrix) -> Prediction:
        return self._scores

    def close(self) -> None:
        pass


def json_rows(table: pa.Table) -> list[dict[str, object]]:
    """As a client would send them."""
    return json.loads(json.dumps(table.drop_columns(["label"]).to_pylist(), default=lambda day: day.isoformat()))


def compile_served_model(predictor: Predictor) -> ServedModel:
    engine = compile_onnx(predictor).engine
    assert engine is not None
    return ServedModel(predictor.schema, engine, "7")


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_json_rows_get_the_labels_of_the_predictor(
    family: str, task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor(family, task)
    table = make_served_rows(task)
    expected = predictor.predict(table)
    answers = compile_served_model(predictor).answer(json_rows(table))
    assert {answer["version"] for answer in answers} == {"7"}
    if task is Task.REGRESSION:
        np.testing.assert_allclose(
            [answer["prediction"] for answer in answers], expected["prediction"], rtol=1e-6, atol=1e-6
        )
        return
    assert [answer["prediction"] for answer in answers] == expected["prediction"].to_pylist()
    for label in predictor.manifest.classes:
        shares = [answer["probabilities"][str(label)] for answer in answers]
        np.testing.assert_allclose(shares, expected[f"probability_{label}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("task", list(Task))
def test_an_arrow_table_gets_the_table_of_the_predictor(
    task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("lightgbm", task)
    table = make_served_rows(task).drop_columns(["label"])
    model = ServedModel(predictor.schema, NativeEngine(predictor), "1")
    assert model.format_table(model.scores(model.reader.read_table(table))).equals(predictor.predict(table))


def test_a_row_of_nothing_but_nulls_and_unseen_texts_is_answered(make_predictor: MakePredictor) -> None:
    predictor = make_predictor("random_forest", Task.BINARY)
    row = dict.fromkeys(predictor.schema.names) | {"city": "Atlantis", "shop": "\ud800"}
    native = ServedModel(predictor.schema, NativeEngine(predictor), "7").answer(row)
    assert compile_served_model(predictor).answer(row) == native


def test_class_one_wins_at_one_half_and_the_first_of_equals(make_predictor: MakePredictor) -> None:
    binary = make_predictor("lightgbm", Task.BINARY)
    answers = ServedModel(binary.schema, Fixed(np.array([0.5, np.nextafter(0.5, 0)])), "1").format_answers(
        np.array([0.5, np.nextafter(0.5, 0)])
    )
    assert [answer["prediction"] for answer in answers] == ["yes", "no"]
    many = make_predictor("lightgbm", Task.MULTICLASS)
    tie = ServedModel(many.schema, Fixed(np.empty(0)), "1").format_answers(np.array([[0.2, 0.4, 0.4]]))
    assert tie[0]["prediction"] == 1


def test_a_score_that_is_not_finite_is_never_answered(make_predictor: MakePredictor) -> None:
    predictor = make_predictor("lightgbm", Task.REGRESSION)
    model = ServedModel(predictor.schema, Fixed(np.array([np.nan])), "1")
    with pytest.raises(Infeasible, match="not finite"):
        model.answer(dict.fromkeys(predictor.schema.names))


def test_a_matrix_of_another_width_is_refused(make_predictor: MakePredictor) -> None:
    engine = compile_onnx(make_predictor("lightgbm", Task.BINARY)).engine
    assert engine is not None
    with pytest.raises(InvalidData, match="7 columns"):
        engine.scores(np.zeros((1, 3), dtype=np.float32))


def test_threads_share_a_model(make_predictor: MakePredictor, make_served_rows: MakeRows) -> None:
    model = compile_served_model(make_predictor("random_forest", Task.MULTICLASS))
    rows = json_rows(make_served_rows(Task.MULTICLASS))
    one_by_one = [model.answer(row)[0] for row in rows]
    with ThreadPoolExecutor(4) as pool:
        assert [answers[0] for answers in pool.map(model.answer, rows)] == one_by_one
