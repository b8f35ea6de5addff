import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.domain.model import Task
from optagent.domain.quality import RowProblem
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema, encode
from optagent.training.live_answers import encode_live_labels, encode_predictions
from optagent.training.live_rows import encode_live, merge_counts, model_matrix

NAN = np.nan
DAY = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
COLUMNS = {
    "amount": FeatureColumn("amount", Kind.NUMERIC),
    "member": FeatureColumn("member", Kind.BOOLEAN),
    "region": FeatureColumn("region", Kind.CATEGORICAL, ("north", "south")),
    "shop": FeatureColumn("shop", Kind.CATEGORICAL, ("1", "2"), other=True),
    "since": FeatureColumn("since", Kind.DATETIME),
}


def schema(*columns: FeatureColumn, task: Task = Task.BINARY, classes: Any = ("no", "yes")) -> Schema:
    return Schema(columns or tuple(COLUMNS.values()), "label", task, () if task is Task.REGRESSION else classes)


def live(name: str, values: Any) -> tuple[list[float], dict[RowProblem, int]]:
    """One column encoded, and what was wrong with it."""
    x, counts = encode_live(pa.table({name: values}), schema(COLUMNS[name]))
    return x[:, 0].tolist(), dict(counts.get(name, {}))


CLEAN = st.fixed_dictionaries(
    {
        "amount": st.none() | st.floats(-1e30, 1e30),
        "member": st.none() | st.booleans(),
        "region": st.none() | st.sampled_from(["north", "south"]),
        "shop": st.none() | st.sampled_from(["1", "2", "9"]),
        "since": st.none() | st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)),
    }
)


@settings(max_examples=30, deadline=None)
@given(st.lists(CLEAN, min_size=1, max_size=8))
def test_clean_rows_are_encoded_as_they_are_for_training(rows: list[dict[str, Any]]) -> None:
    types = [("amount", pa.float64()), ("member", pa.bool_()), ("region", pa.string()), ("shop", pa.string())]
    table = pa.Table.from_pylist(rows, pa.schema([*types, ("since", pa.date32())]))
    x, counts = encode_live(table, schema())
    np.testing.assert_array_equal(x, encode(table, schema()))
    assert {problem for problems in counts.values() for problem in problems} <= {RowProblem.MISSING}


@pytest.mark.parametrize(
    ("name", "values", "expected", "problems"),
    [
        ("amount", [1, None, NAN], [1, NAN, NAN], {RowProblem.MISSING: 2}),
        ("amount", pa.array([1, None]).cast(pa.int8()), [1, NAN], {RowProblem.MISSING: 1}),
        ("amount", [Decimal("1.5")], [1.5], {}),
        ("amount", [True, False], [1, 0], {}),
        ("amount", [float("inf"), -1e300, 2.0], [NAN, NAN, 2], {RowProblem.INFINITE: 2}),
        ("amount", ["12.5", " -3e1 ", "abc", "1,5"], [12.5, -30, NAN, NAN], {RowProblem.NOT_A_NUMBER: 2}),
        ("amount", ["", "NaN", "null", None], [NAN] * 4, {RowProblem.MISSING: 4}),
        ("amount", ["-inf", "1e999"], [NAN, NAN], {RowProblem.INFINITE: 2}),
        ("amount", pa.array(["7", "x", "7"]).dictionary_encode(), [7, NAN, 7], {RowProblem.NOT_A_NUMBER: 1}),
        ("amount", [DAY, None], [NAN, NAN], {RowProblem.WRONG_TYPE: 1, RowProblem.MISSING: 1}),
        ("amount", [[1], None], [NAN, NAN], {RowProblem.WRONG_TYPE: 1, RowProblem.MISSING: 1}),
        ("amount", pa.nulls(2), [NAN, NAN], {RowProblem.MISSING: 2}),
        ("member", [1, 0, None], [1, 0, NAN], {RowProblem.MISSING: 1}),
        ("member", ["true", "FALSE", "1", "maybe"], [1, 0, 1, NAN], {RowProblem.WRONG_TYPE: 1}),
        ("region", ["south", "west", None], [1, 2, NAN], {RowProblem.UNSEEN: 1, RowProblem.MISSING: 1}),
        ("region", pa.array(["south", "west"]).dictionary_encode(), [1, 2], {RowProblem.UNSEEN: 1}),
        ("region", [3, 4], [2, 2], {RowProblem.UNSEEN: 2}),
        ("region", [["south"]], [NAN], {RowProblem.WRONG_TYPE: 1}),
        ("shop", [1.0, 2.0, 9.0, NAN], [0, 1, 2, NAN], {RowProblem.MISSING: 1}),
        ("since", ["1970-01-02", "1970-01-03T12:00:00"], [1, 2.5], {}),
        ("since", ["1970-01-02T02:00:00+02:00", "1970-01-02", "soon"], [1, 1, NAN], {RowProblem.WRONG_TYPE: 1}),
        ("since", ["soon", ""], [NAN, NAN], {RowProblem.WRONG_TYPE: 1, RowProblem.MISSING: 1}),
        ("since", [DAY.date()], [1], {}),
        ("since", [5, None], [NAN, NAN], {RowProblem.WRONG_TYPE: 1, RowProblem.MISSING: 1}),
    ],
)
def test_what_can_be_read_is_and_the_rest_is_counted(
    name: str, values: Any, expected: list[float], problems: dict[RowProblem, int]
) -> None:
    encoded, counts = live(name, values)
    np.testing.assert_array_equal(encoded, expected)
    assert counts == problems


def test_an_absent_column_is_missing_in_every_row() -> None:
    x, counts = encode_live(pa.table({"amount": [1.0, 2.0]}), schema(COLUMNS["amount"], COLUMNS["region"]))
    assert counts == {"region": {RowProblem.ABSENT: 2}}
    assert np.isnan(x[:, 1]).all()


def test_an_extra_column_counts_once_and_bookkeeping_does_not() -> None:
    names = ["id", "time", "prediction", "probability", "probability_yes", "latency_ms", "version", "arm", "amount"]
    table = pa.table({name: [1.0, 2.0] for name in [*names, "colour"]} | {"empty": pa.nulls(2)})
    assert encode_live(table, schema(COLUMNS["amount"]))[1] == {"colour": {RowProblem.EXTRA: 1}}


def test_a_name_that_stands_twice_takes_the_first() -> None:
    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], ["amount", "amount"])
    assert encode_live(table, schema(COLUMNS["amount"]))[0].tolist() == [[1.0]]


def test_no_rows_are_no_problem() -> None:
    empty = pa.table({"amount": pa.array([], pa.string()), "region": pa.array([], pa.string())})
    x, counts = encode_live(empty, schema())
    assert x.shape == (0, 5)
    assert counts == {}


def test_counts_of_tables_add_up_but_an_extra_column_stays_one() -> None:
    part = {"colour": {RowProblem.EXTRA: 1}, "amount": {RowProblem.MISSING: 2}}
    assert merge_counts([part, part]) == {"colour": {RowProblem.EXTRA: 1}, "amount": {RowProblem.MISSING: 4}}


def test_a_model_sees_an_unseen_category_as_it_was_trained_to() -> None:
    table = pa.table({"region": ["west", "south"], "shop": ["9", "1"]})
    both = schema(COLUMNS["region"], COLUMNS["shop"])
    x, _ = encode_live(table, both)
    np.testing.assert_array_equal(model_matrix(x, both), encode(table, both))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"probability_yes": [0.2, 0.9]}, [0.2, 0.9]),
        ({"probability_no": [0.75, 0.25]}, [0.25, 0.75]),
        ({"probability": ["0.2", "1"]}, [0.2, 1]),
        ({"probability": ["0.5", "high"]}, [0.5, None]),
        ({"prediction": ["yes", "no"]}, [1, 0]),
        ({"prediction": ["yes", "perhaps"]}, [1, None]),
        ({"prediction": ["no", "no"], "probability_yes": [0.4, None]}, [0.4, 0]),
        ({"probability": [1.5, -0.1]}, [None, None]),
        ({"probability": [NAN, float("inf")]}, [None, None]),
        ({"probability": pa.array([1.0000001, None])}, [1, None]),
        ({"amount": [1, 2]}, [None, None]),
    ],
)
def test_the_answer_of_a_binary_model_is_the_probability_of_its_last_class(columns: Any, expected: Any) -> None:
    prediction, usable = encode_predictions(pa.table(columns), schema())
    assert usable.tolist() == [value is not None for value in expected]
    np.testing.assert_allclose(prediction[usable], [value for value in expected if value is not None])


def test_the_answer_of_a_multiclass_model_is_a_row_of_probabilities() -> None:
    columns = {
        "prediction": ["a", "c", "b", "z", "a", "a"],
        "probability_a": [0.5, None, 0.5, None, 0.2, None],
        "probability_b": [0.3, None, 0.5, None, 0.2, 0.5],
        "probability_c": [0.2, None, 0.5, None, 0.6, 0.5],
    }
    prediction, usable = encode_predictions(pa.table(columns), schema(task=Task.MULTICLASS, classes=("a", "b", "c")))
    assert usable.tolist() == [True, True, False, False, True, False]
    np.testing.assert_allclose(prediction[usable], [[0.5, 0.3, 0.2], [0, 0, 1], [0.2, 0.2, 0.6]])


def test_the_answer_of_a_regression_is_a_finite_number() -> None:
    prediction, usable = encode_predictions(
        pa.table({"prediction": ["1.5", "much", None, "inf"]}), schema(task=Task.REGRESSION)
    )
    assert usable.tolist() == [True, False, False, False]
    assert prediction[0] == 1.5


@pytest.mark.parametrize(
    ("classes", "values", "expected"),
    [
        ((0, 1), ["0", "1", "1.0", " 1 "], [0, 1, 1, 1]),
        ((0, 1), [0.0, 1.0, NAN], [0, 1, None]),
        ((0, 1), [True, False], [1, 0]),
        ((0, 1), ["true", "False"], [1, 0]),
        (("0", "1"), [1, 0], [1, 0]),
        (("0", "1"), [True, False], [1, 0]),
        ((False, True), ["True", "false"], [1, 0]),
        ((False, True), [1, 0], [1, 0]),
        ((False, True), [1.0, 0.0], [1, 0]),
        (("no", "yes"), ["yes", "YES", None], [1, 1, None]),
        (("a", "A"), ["A", "a"], [1, 0]),
        ((1, 2), [2.0, 1.0], [1, 0]),
        ((1, 2), [Decimal("2"), Decimal("1")], [1, 0]),
    ],
)
def test_labels_are_compared_as_they_are_written(classes: Any, values: Any, expected: Any) -> None:
    labels, unusable = encode_live_labels(pa.chunked_array([values]), schema(classes=classes))
    np.testing.assert_array_equal(labels, [NAN if value is None else value for value in expected])
    assert not unusable.any()


@pytest.mark.parametrize("values", [["maybe", "yes"], [2, None], [0.5], [["yes"]], [DAY], [True]])
def test_a_label_that_is_no_class_is_unusable_and_a_missing_one_is_not(values: Any) -> None:
    labels, unusable = encode_live_labels(pa.chunked_array([values]), schema())
    assert unusable.tolist() == [value is not None and value != "yes" for value in values]
    assert np.isnan(labels[unusable]).all()


def test_a_label_of_a_regression_must_be_finite() -> None:
    values = pa.chunked_array([["2.5", "much", None, "inf"]])
    labels, unusable = encode_live_labels(values, schema(task=Task.REGRESSION))
    np.testing.assert_array_equal(labels, [2.5, NAN, NAN, NAN])
    assert unusable.tolist() == [False, True, False, True]


def test_labels_in_chunks_and_dictionaries_are_read() -> None:
    chunks = pa.chunked_array([pa.array(["yes", "no"]).dictionary_encode(), pa.array(["no"]).dictionary_encode()])
    assert encode_live_labels(chunks, schema())[0].tolist() == [1, 0, 0]
    assert encode_live_labels(pa.chunked_array([], pa.string()), schema())[0].tolist() == []
