import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent import codec
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.columns import Kind
from optagent.training.encoding import (
    MAX_CATEGORIES,
    Schema,
    columns_of,
    encode,
    encode_target,
    fit_schema,
    load_data,
    target_schema,
)
from optagent.training.row_times import instants

DAY = dt.date(1970, 1, 11)


def spec(task: Task = Task.BINARY, **fields: Any) -> ModelSpec:
    return ModelSpec("m", task, FileSource("rows.csv"), **{"target": "y", **fields})


def table(**columns: Any) -> pa.Table:
    rows = len(next(iter(columns.values())))
    return pa.table({**columns, "y": columns.get("y", [index % 2 for index in range(rows)])})


def column(values: Any, **fields: Any) -> np.ndarray:
    """The one column `x`, learned and encoded on the same rows."""
    rows = table(x=values)
    return encode(rows, fit_schema(rows, spec(**fields)))[:, 0]


def refusal(error: type[Exception], function: Any, *arguments: Any) -> str:
    with pytest.raises(error) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, None], [1, 2, np.nan]),
        ([0.5, float("nan"), 2.0], [0.5, np.nan, 2]),
        ([Decimal("1.25"), Decimal("2.5")], [1.25, 2.5]),
        ([True, False, None], [1, 0, np.nan]),
        ([DAY, dt.date(1970, 1, 2), None], [10, 1, np.nan]),
        ([dt.datetime(1970, 1, 1, 12, tzinfo=dt.UTC), dt.datetime(1970, 1, 3, tzinfo=dt.UTC)], [0.5, 2]),
        (pa.array([43_200, 0], pa.time32("s")), [0.5, 0]),
        (pa.array([86_400_000, 0], pa.duration("ms")), [1, 0]),
        (pa.array([1.5, 2.5], pa.float16()), [1.5, 2.5]),
        (["b", "a", "b", None], [0, 1, 0, np.nan]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), [0, 1, 0]),
        (["10", "9", "10"], [0, 1, 0]),
    ],
)
def test_every_supported_type_becomes_float32(values: Any, expected: list[float]) -> None:
    encoded = column(values)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, np.array(expected, np.float32))


def test_the_matrix_is_c_contiguous_over_chunked_columns() -> None:
    part = table(x=[1.0, 2.0], word=["a", "b"])
    rows = pa.concat_tables([part, part])
    x = encode(rows, fit_schema(rows, spec()))
    assert x.flags.c_contiguous
    assert x.tolist() == [[1, 0], [2, 1], [1, 0], [2, 1]]


def test_categories_are_ranked_by_frequency_then_name() -> None:
    schema = fit_schema(table(x=["c", "b", "a", "c", None, "b"]), spec())
    assert schema.columns[0].categories == ("b", "c", "a")


def test_categories_beyond_the_cap_share_one_level() -> None:
    words = [f"w{index:03}" for index in range(MAX_CATEGORIES + 6)]
    rows = table(x=[*words, *words[6:]])
    schema = fit_schema(rows, spec())
    assert schema.columns[0].levels == MAX_CATEGORIES + 1
    assert "260 categories" in schema.notes[0]
    assert set(encode(rows, schema)[:6, 0]) == {MAX_CATEGORIES}
    unseen = encode(pa.table({"x": ["never", None]}), schema)[:, 0]
    np.testing.assert_array_equal(unseen, [MAX_CATEGORIES, np.nan])


def test_texts_that_nearly_all_differ_are_said_to_look_like_ids_or_free_text() -> None:
    words = [f"w{index:03}" for index in range(MAX_CATEGORIES + 6)]
    (note,) = fit_schema(table(x=[*words, *words[6:]]), spec()).notes
    assert note.endswith("in 514 rows that looks like ids or free text, which ignore leaves out")
    (note,) = fit_schema(table(x=[*words, *words[6:], *words]), spec()).notes
    assert note == "x: 260 categories, the 254 most frequent are kept apart"


def test_an_unseen_category_is_missing() -> None:
    schema = fit_schema(table(x=["a", "b"]), spec())
    np.testing.assert_array_equal(encode(pa.table({"x": ["b", "z"]}), schema)[:, 0], [1, np.nan])


def test_the_schema_is_learned_from_the_given_rows_only() -> None:
    rows = table(x=["a", "b", "a", "late"], z=[1, 1, 1, 2], w=[1, 2, 3, 4])
    schema = fit_schema(rows, spec(), np.array([0, 1, 2]))
    assert schema.names == ("x", "w")
    assert schema.columns[0].categories == ("a", "b")
    assert fit_schema(rows, spec(), np.array([0, 3])).columns[0].categories == ("a", "late")


def test_a_schema_survives_json() -> None:
    schema = fit_schema(table(x=["a", "b"], z=[1, 2], d=[DAY, None], c=[1, 1], y=["no", "yes"]), spec())
    assert codec.decode(Schema, codec.encode(schema)) == schema
    assert schema.columns[1].kind is Kind.NUMERIC


@pytest.mark.parametrize("labels", [[True, False], [0, 1], ["0", "1"]])
def test_classes_keep_their_type_through_json(labels: list[Any]) -> None:
    schema = target_schema(table(y=labels), spec())
    restored = codec.decode(Schema, codec.encode(schema))
    assert [type(label) for label in restored.classes] == [type(label) for label in sorted(labels)]


def test_columns_without_information_are_left_out_with_a_note() -> None:
    schema = fit_schema(table(empty=[None, None], same=[3, 3], nan=[float("nan"), 1.0], x=[1, 2]), spec())
    assert schema.names == ("x",)
    assert schema.notes == (
        "empty: left out, it holds no value",
        "same: left out, it holds one value only",
        "nan: left out, it holds one value only",
    )


def test_features_are_all_columns_but_those_set_aside() -> None:
    rows = table(x=[1, 2], sex=["m", "f"], row_id=[1, 2], t=[1, 2], nested=[[1], [2]])
    set_aside = spec(sensitive_columns=("sex",), ignore=("row_id", "typo"), time_column="t")
    schema = fit_schema(rows, set_aside)
    assert schema.names == ("x",)
    assert schema.notes == ("ignore: there is no column 'typo'",)
    assert fit_schema(rows, spec(features=("t", "x"))).names == ("t", "x")
    assert columns_of(set_aside) is None
    assert columns_of(spec(features=("x",), time_column="t", sensitive_columns=("sex",))) == ("x", "y", "t", "sex")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"features": ("xx",)}, "no column 'xx'; the columns are ['x',"),
        ({"features": ("nested",)}, "'nested' is of type list"),
        ({"sensitive_columns": ("gender",)}, "sensitive_columns: no column 'gender'"),
        ({"ignore": ("x",)}, "no column is left to learn from"),
    ],
)
def test_features_that_cannot_be_learned_are_refused(fields: dict[str, Any], message: str) -> None:
    assert message in refusal(InvalidData, fit_schema, table(x=[1, 2], nested=[[1], [2]]), spec(**fields))


def test_a_sensitive_column_is_never_a_feature() -> None:
    both = spec(features=("sex",), sensitive_columns=("sex",))
    assert "['sex'] are sensitive" in refusal(InvalidRequest, fit_schema, table(sex=["m", "f"]), both)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 1e39])
def test_an_infinite_value_is_refused_with_its_column_and_first_row(value: float) -> None:
    rows = table(x=[1.0, 2.0, value, value], y=[None, 0, 1, 0])
    message = refusal(InvalidData, load_data, rows, fit_schema(rows, spec(task=Task.BINARY)))
    assert "column 'x'" in message
    assert "in row 2" in message


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"z": [1]}, "no column 'x'"),
        ({"x": ["abc"]}, "column 'x' is numeric, got values of type string"),
        ({"x": [DAY]}, "column 'x' is numeric, got values of type date32"),
    ],
)
def test_rows_to_predict_that_do_not_fit_are_refused(columns: dict[str, Any], message: str) -> None:
    schema = fit_schema(table(x=[1, 2]), spec())
    assert message in refusal(InvalidData, encode, pa.table(columns), schema)


def test_rows_to_predict_may_come_as_json_gives_them() -> None:
    rows = table(n=[1, 2], d=[DAY, dt.date(1970, 1, 2)], b=[True, False], c=["1", "2"])
    schema = fit_schema(rows, spec())
    rows = pa.table(
        {"c": [2, 1], "b": [1, None], "d": ["1970-01-11T12:00:00Z", None], "n": [None, None], "extra": ["e", "e"]}
    )
    nan = np.nan
    np.testing.assert_array_equal(encode(rows, schema), [[nan, 10.5, 1, 1], [nan, nan, nan, 0]])
    bad = rows.set_column(2, "d", pa.array(["1970-01-11", "soon"]))
    assert "column 'd': the text in row 1 is not a date" in refusal(InvalidData, encode, bad, schema)


@pytest.mark.parametrize(
    ("labels", "fields", "classes"),
    [
        (["yes", "no"], {}, ("no", "yes")),
        (["yes", "no"], {"positive_class": "no"}, ("yes", "no")),
        ([10, 9], {}, (9, 10)),
        ([0.0, 1.0, None], {}, (0, 1)),
        ([True, False], {"positive_class": "false"}, (True, False)),
        (["b", "a", "c"], {"task": Task.MULTICLASS}, ("a", "b", "c")),
        (pa.array(["b", "a"]).dictionary_encode(), {}, ("a", "b")),
    ],
)
def test_classes_are_sorted_with_the_positive_one_last(labels: Any, fields: Any, classes: Any) -> None:
    rows = pa.table({"y": labels})
    schema = target_schema(rows, spec(**fields))
    assert schema.classes == classes
    y, _ = encode_target(rows, schema)
    present = [value for value in rows["y"].to_pylist() if value is not None]
    assert [classes[int(index)] for index in y] == present


def test_rows_without_a_target_are_left_out_and_counted() -> None:
    rows = table(x=[1, 2, 3, 4], y=[1.5, None, float("nan"), 4.0])
    schema = fit_schema(rows, spec(Task.REGRESSION))
    y, keep = encode_target(rows, schema)
    assert y.tolist() == [1.5, 4.0]
    assert keep.tolist() == [True, False, False, True]
    assert load_data(rows, schema).x[:, 0].tolist() == [1, 4]


@pytest.mark.parametrize(
    ("values", "task", "fields", "message"),
    [
        ([None, None], Task.REGRESSION, {}, "no row has a value"),
        ([2.0, 2.0], Task.REGRESSION, {}, "every row has the same value"),
        (["a", "b"], Task.REGRESSION, {}, "a regression needs numbers"),
        ([True, False], Task.REGRESSION, {}, "a regression needs numbers"),
        ([1.0, float("inf")], Task.REGRESSION, {}, "infinite value in row 1"),
        (["a", "a"], Task.BINARY, {}, "every row is of the class 'a'"),
        ([1, 2, 3], Task.BINARY, {}, "3 classes for a binary model"),
        ([0.5, 1.0], Task.MULTICLASS, {}, "the column holds fractions"),
        ([DAY, None], Task.BINARY, {}, "cannot be a class"),
        (list(range(1001)), Task.MULTICLASS, {}, "1,001 classes, the limit is 1000"),
        (["a", "b"], Task.BINARY, {"positive_class": "c"}, "'c' is not a class of 'y'; those are ['a', 'b']"),
        (["a", "b"], Task.BINARY, {"target": "why"}, "target: no column 'why'; the columns are ['y'"),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(values: Any, task: Task, fields: Any, message: str) -> None:
    assert message in refusal(InvalidData, target_schema, pa.table({"y": values}), spec(task, **fields))


def test_a_class_that_was_not_learned_is_refused() -> None:
    schema = target_schema(pa.table({"y": ["a", "b"]}), spec())
    assert "1 rows of unknown classes" in refusal(InvalidData, encode_target, pa.table({"y": ["a", "c"]}), schema)


def test_balanced_weights_give_every_class_the_same_sum() -> None:
    rows = table(x=[1, 2, 3, 4], y=["a", "a", "a", "b"])
    data = load_data(rows, fit_schema(rows, spec()), "balanced")
    assert data.weight is not None
    assert data.weight.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert load_data(rows, fit_schema(rows, spec())).weight is None


def test_data_says_which_columns_are_categories() -> None:
    rows = table(x=[1, 2], word=["a", "b"])
    data = load_data(rows, fit_schema(rows, spec()))
    assert (data.names, data.categorical, data.levels, data.n_classes) == (("x", "word"), (1,), (2,), 2)


@pytest.mark.parametrize(
    ("values", "horizon", "expected"),
    [
        ([3, 5], 2, [3, 5]),
        ([DAY, dt.date(1970, 1, 2)], "1d", [864_000, 86_400]),
        (pa.array([1500, 0], pa.timestamp("ms", "UTC")), "1h", [1.5, 0]),
        (["1970-01-01T00:00:01", "1970-01-02"], "1h", [1, 86_400]),
        (["1970-01-01T00:00:01Z", "1970-01-01T01:00:00+01:00"], 0.0, [1, 0]),
    ],
)
def test_times_are_seconds_or_the_columns_own_unit(values: Any, horizon: Any, expected: list[float]) -> None:
    seconds = instants(table(t=values), spec(time_column="t", label_horizon=horizon))
    assert seconds is not None
    assert seconds.tolist() == expected


def test_rows_in_time_order_count_as_time() -> None:
    seconds = instants(table(x=[5, 5, 5]), spec(rows_in_time_order=True, label_horizon=1))
    assert seconds is not None
    assert seconds.tolist() == [0, 1, 2]
    assert instants(table(x=[1]), spec()) is None


@pytest.mark.parametrize(
    ("values", "horizon", "message"),
    [
        ([1, None], 0.0, "1 rows without a time, the first is row 1"),
        ([1.0, float("nan")], 0.0, "the number in row 1 is not a time"),
        (["2024-01-31", "yesterday"], 0.0, "the text in row 1 has no order in time"),
        ([True, False], 0.0, "has no order in time"),
        ([1, 2], "24h", "it is a number in the unit of the time"),
        ([DAY, DAY], 5, "it is a duration such as 24h"),
    ],
)
def test_a_time_that_cannot_order_rows_is_refused(values: Any, horizon: Any, message: str) -> None:
    assert message in refusal(InvalidData, instants, table(x=values), spec(time_column="x", label_horizon=horizon))


def test_an_absent_time_column_is_refused() -> None:
    assert "time_column: no column 'when'" in refusal(InvalidData, instants, table(x=[1]), spec(time_column="when"))
