"""Prediction records: their tables always have the same types, which are those of recorded predictions."""

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.loop.observe.record import checked_predictions
from optagent.serving.engine import ServedModel
from optagent.serving.native_engine import NativeEngine
from optagent.serving.prediction_record import PredictionRecord, predictions_table
from optagent.training.encoding import encode
from optagent.training.live_rows import encode_live, model_matrix
from optagent.training.predictor import Predictor
from reference.formats import PREDICTION_COLUMNS

MakePredictor = Callable[..., Predictor]
MakeRows = Callable[[Task], pa.Table]
NOW = 1_700_000_000.0


def make_served_model(predictor: Predictor) -> ServedModel:
    return ServedModel(predictor.schema, NativeEngine(predictor), "7")


def make_record(model: ServedModel, rows: object, ids: list[str]) -> PredictionRecord:
    return PredictionRecord(model, ids, NOW, rows, model.scores(model.reader.read(rows)), 1.5, "champion")


def json_rows(table: pa.Table) -> list[dict[str, object]]:
    return json.loads(json.dumps(table.to_pylist(), default=lambda day: day.isoformat()))


@pytest.mark.parametrize("task", list(Task))
def test_rows_of_any_form_are_recorded_alike_and_mean_what_the_model_was_asked(
    task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("lightgbm", task)
    model = make_served_model(predictor)
    table = make_served_rows(task).drop_columns(["label"]).slice(0, 30)
    rows = json_rows(table)
    columns = {name: [row[name] for row in rows] for name in table.schema.names}
    ids = [str(number) for number in range(30)]
    forms = [rows, columns, table]
    tables = [predictions_table([make_record(model, form, ids)]) for form in forms]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    x, _ = encode_live(tables[0], predictor.schema)
    np.testing.assert_array_equal(model_matrix(x, predictor.schema), encode(table, predictor.schema))


@pytest.mark.parametrize("task", list(Task))
def test_they_are_predictions_as_the_door_for_recorded_rows_takes_them(
    task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("lightgbm", task)
    model = make_served_model(predictor)
    rows = json_rows(make_served_rows(task).drop_columns(["label"]))
    table = predictions_table([make_record(model, rows[:2], ["a", "b"]), make_record(model, rows[2:3], ["c"])])
    spec = ModelSpec("m", task, FileSource("rows.csv"), "label")
    assert checked_predictions(table, spec, 0.0).select(table.schema.names).equals(table)
    assert table["version"].to_pylist() == ["7"] * 3
    assert table["id"].to_pylist() == ["a", "b", "c"]
    assert table["time"][0].as_py().timestamp() == NOW
    expected = [answer["prediction"] for answer in model.answer(rows[:3])]
    assert table["prediction"].to_pylist() == (
        expected if task is Task.REGRESSION else [str(label) for label in expected]
    )


def test_values_of_other_types_that_the_reader_takes_do_not_change_the_columns(make_predictor: MakePredictor) -> None:
    model = make_served_model(make_predictor("lightgbm", Task.BINARY))
    plain = {"a": 1.5, "b": 2.0, "count": 3.0, "city": "Bern", "shop": "shop 1", "open": True, "day": "2024-01-02"}
    odd = {"a": True, "b": 2**60, "count": None, "city": 7, "shop": 1.5, "open": 0, "day": 86400}
    alone = predictions_table([make_record(model, [plain], ["x"])])
    both = predictions_table([make_record(model, [plain], ["x"]), make_record(model, [odd], ["y"])])
    assert both.schema == alone.schema
    row = both.to_pylist()[1]
    assert (row["a"], row["b"], row["count"], row["city"], row["open"]) == (1.0, 2.0**60, None, "7", False)
    assert row["day"].date().isoformat() == "1970-01-02"


@pytest.mark.parametrize("task", list(Task))
def test_the_reference_has_their_columns_and_types(
    task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    model = make_served_model(make_predictor("lightgbm", task))
    rows = make_served_rows(task).drop_columns(["label"]).slice(0, 3)
    table = predictions_table([make_record(model, rows, ["a", "b", "c"])])
    beside = [field for field in table.schema if field.name not in rows.schema.names]
    own = [field for field in beside if not field.name.startswith("probability_")]
    assert {field.name for field in own} == {name for name in PREDICTION_COLUMNS if not name.startswith(MORE)}
    assert [field.name for field in own if str(field.type) not in PREDICTION_COLUMNS[field.name][0]] == []


MORE = ("*", "probability_", "said_", "mixture_")
"""The beginnings of columns of some models only."""
