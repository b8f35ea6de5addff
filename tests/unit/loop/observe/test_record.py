import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.adapters.state.archive.row_types import storable_rows
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData
from optagent.loop.observe import tabular_input
from optagent.loop.observe.record import checked_labels, checked_predictions

NOW = 1_700_000_000.25
NAIVE = dt.datetime.fromisoformat("2023-11-14T22:13:20")
NOW_TEXT = "2023-11-14 22:13:20.250000+00:00"
BINARY = ModelSpec("churn", Task.BINARY, FileSource("rows.parquet"), "left", time_column="at")
CLASSES = ModelSpec("kind", Task.MULTICLASS, FileSource("rows.parquet"), "kind")
NUMBER = ModelSpec("price", Task.REGRESSION, FileSource("rows.parquet"), "price")

COLUMNS = {"id": ["a", "b"], "time": [0, 1.5], "prediction": ["yes", "no"], "probability": [0.9, 0.2], "x": [1.0, 2.0]}


def predictions(rows: Any, spec: ModelSpec = BINARY) -> pa.Table:
    return checked_predictions(rows, spec, NOW)


def labels(rows: Any, spec: ModelSpec = BINARY) -> pa.Table:
    return checked_labels(rows, spec, NOW)


def times(table: pa.Table) -> list[str]:
    return [str(item) for item in table["time"].to_pylist()]


@pytest.mark.parametrize(
    "container",
    [
        lambda columns: columns,
        pa.table,
        pa.RecordBatch.from_pydict,
        pd.DataFrame,
        lambda columns: pa.table(columns).to_pylist(),
        lambda columns: tuple(pa.table(columns).to_pylist()),
        lambda columns: {name: np.asarray(values) for name, values in columns.items()},
        lambda columns: {name: pd.Series(values) for name, values in columns.items()},
    ],
)
def test_every_container_gives_the_same_table(container: Callable[[Any], Any]):
    table = predictions(container(COLUMNS))
    assert table.schema == pa.schema(
        {
            "id": pa.large_string(),
            "time": pa.timestamp("us", "UTC"),
            "prediction": pa.large_string(),
            "probability": pa.float64(),
            "latency_ms": pa.float64(),
            "version": pa.large_string(),
            "arm": pa.large_string(),
            "x": pa.float64(),
        }
    )
    assert times(table) == ["1970-01-01 00:00:00+00:00", "1970-01-01 00:00:01.500000+00:00"]
    assert table.drop(["time"]).to_pylist()[0] == {
        "id": "a", "prediction": "yes", "probability": 0.9, "latency_ms": None, "version": None, "arm": "champion",
        "x": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("ids", [[1, 2], ["1", 2], pd.Categorical(["1", "2"]), np.array([1, 2], np.uint64)])
def test_ids_become_text(ids):
    assert predictions({"id": ids, "prediction": ["y", "n"]})["id"].to_pylist() == ["1", "2"]


def test_a_uuid_is_an_id():
    name = uuid.UUID(int=7)
    assert predictions([{"id": name, "prediction": "y"}])["id"].to_pylist() == [str(name)]


@pytest.mark.parametrize(
    "given_time",
    [
        [1.7e9, 1.7e9],
        [1_700_000_000, 1_700_000_000],
        ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20"],
        ["2023-11-14 22:13:20", "2023-11-14 22:13:20"],
        ["2023-11-14T23:13:20+01:00", "20231114T221320Z"],
        ["1700000000", "2023-11-14T22:13:20Z"],
        [1_700_000_000, "2023-11-14T22:13:20Z"],
        [NAIVE, NAIVE],
        [NAIVE.replace(tzinfo=dt.UTC), NAIVE.replace(tzinfo=dt.UTC)],
        [NAIVE, "2023-11-14T22:13:20Z"],
        pd.to_datetime(["2023-11-14 22:13:20", "2023-11-14 22:13:20"]),
        pd.to_datetime(["2023-11-14 23:13:20+01:00"] * 2),
        pa.array([1_700_000_000_000_000_999] * 2, pa.timestamp("ns")),
        pa.array([1_700_000_000] * 2, pa.timestamp("s", "Europe/Berlin")),
        pa.array(["2023-11-14T22:13:20"] * 2).dictionary_encode(),
    ],
)
def test_a_time_is_read_as_utc_in_every_form(given_time):
    table = predictions({"id": ["a", "b"], "time": given_time, "prediction": ["y", "n"]})
    assert times(table) == ["2023-11-14 22:13:20+00:00"] * 2


def test_a_day_is_its_midnight():
    table = predictions([{"id": "a", "time": dt.date(2023, 11, 14), "prediction": "y"}])
    assert times(table) == ["2023-11-14 00:00:00+00:00"]


def test_rows_without_a_time_are_of_now_and_the_time_column_of_the_model_is_one():
    assert times(predictions([{"id": "a", "prediction": "y"}])) == [NOW_TEXT]
    table = predictions([{"id": "a", "prediction": "y", "at": 0}])
    assert times(table) == ["1970-01-01 00:00:00+00:00"]
    assert "at" not in table.column_names


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("soon", r"'time': 'soon' in row 1 is no time"),
        (None, r"'time': None in row 1 is no time"),
        (float("nan"), r"'time': nan in row 1 is no time"),
        (float("inf"), r"'time': inf in row 1 .* 1 and 9999"),
        (1.7e12, r"'time': 1700000000000.0 in row 1 .* milliseconds"),
        ("12345-01-01", r"'12345-01-01' in row 1 is no time"),
        ("0001-01-01T00:00:00+02:00", r"'0001-01-01T00:00:00\+02:00' in row 1 is not between the years"),
        ("nan", r"'nan' in row 1 is no time"),
    ],
)
def test_a_time_that_cannot_be_read_is_refused_with_its_row(value, rule):
    rows = [{"id": "a", "time": 0.0, "prediction": "y"}, {"id": "b", "time": value, "prediction": "y"}]
    with pytest.raises(InvalidData, match=rule):
        predictions(rows)


@pytest.mark.parametrize("value", [True, dt.time(8), dt.timedelta(1)])
def test_a_time_of_another_type_is_refused(value):
    with pytest.raises(InvalidData, match=r"'time': .* in row 0 is of type"):
        predictions([{"id": "a", "time": value, "prediction": "y"}])


@pytest.mark.parametrize(
    ("given_labels", "names"),
    [
        ([1, 0, None], ["1", "0", None]),
        ([1.0, 0.0, float("nan")], ["1", "0", None]),
        ([0.5, 1.0, 2.0], ["0.5", "1.0", "2.0"]),
        ([True, False, None], ["True", "False", None]),
        (["up", 3, True], ["up", "3", "True"]),
    ],
)
def test_classes_are_written_as_texts(given_labels, names):
    table = predictions({"id": ["a", "b", "c"], "prediction": given_labels, "probability": [0.1, 0.2, 0.3]})
    assert table["prediction"].to_pylist() == names


def test_probabilities_are_enough_for_a_classifier_and_features_of_such_names_stay_features():
    table = predictions({"id": ["a"], "probability_b": ["0.25"], "probability_a": [1]}, CLASSES)
    assert table["probability_b"].to_pylist() == [0.25]
    assert table["probability_a"].type == pa.float64()
    spec = ModelSpec("m", Task.BINARY, FileSource("f"), "y", features=("probability_of_rain",))
    with pytest.raises(InvalidData, match="'prediction' or 'probability' is needed"):
        predictions({"id": ["a"], "probability_of_rain": ["high"]}, spec)


def test_a_single_probability_of_many_classes_is_refused():
    with pytest.raises(InvalidData, match="probability_LABEL"):
        predictions({"id": ["a"], "probability": [0.5]}, CLASSES)


def test_predictions_of_a_regression_are_numbers():
    table = predictions(
        {"id": [1, 2, 3], "prediction": ["1.5", "nan", " 2"], "probability": ["kept", "as", "it is"]}, NUMBER
    )
    assert str(table["prediction"].to_pylist()) == "[1.5, nan, 2.0]"
    assert table["probability"].to_pylist() == ["kept", "as", "it is"]
    with pytest.raises(InvalidData, match=r"'prediction': 'dear' in row 1 is no number"):
        predictions({"id": [1, 2], "prediction": ["1", "dear"]}, NUMBER)


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"id": ["a"], "x": [1]}, r"'prediction' or 'probability' is needed, got \['id', 'x'\]"),
        ({"id": ["a", "b"], "prediction": ["y", None]}, r"'prediction': None in row 1 is no prediction"),
        ({"id": ["a", None], "prediction": ["y", "y"]}, r"'id': None in row 1 is no id"),
        ({"id": ["a", ""], "prediction": ["y", "y"]}, r"'id': '' in row 1 is no id"),
        ({"id": [1.5], "prediction": ["y"]}, r"'id': 1.5 in row 0 is of type double; an id is a text or a whole"),
        ({"prediction": ["y"]}, r"a column 'id' is needed, got \['prediction'\]"),
        ({"id": ["a"], "prediction": ["y"], "x": [[1]]}, r"'x': \[1\] in row 0"),
        ({"id": ["a"], "prediction": ["y"], "x": [b"1"]}, r"'x': b'1' in row 0"),
        ({"id": ["a", "b"], "prediction": ["y", "y"], "x": [1, {"k": 2}]}, r"'x': \{'k': 2\} in row 1"),
        ({"id": ["a"], "prediction": ["y"], "x": ["\ud800"]}, r"'x': '\\ud800' in row 0 is no text in Unicode"),
        ({"id": ["a"], "prediction": ["y"], "x": [object()]}, r"'x': <object .* in row 0 is neither"),
        ({"id": ["a"], "prediction": ["y"], "latency_ms": ["fast"]}, r"'latency_ms': 'fast' in row 0 is no number"),
        ({"id": ["a"], "prediction": ["y"], "probability": ["half"]}, r"'probability': 'half' in row 0 is no number"),
        ({"id": ["a"], "prediction": ["y"], "": [1]}, "a column has no name"),
        ({"id": ["a", "b"], "prediction": ["y"]}, r"different lengths: \{'id': 2, 'prediction': 1\}"),
        ({"id": "abc", "prediction": ["y"]}, r"'id': a list of values is needed, got 'abc'"),
        ({"id": 5, "prediction": ["y"]}, r"'id': a list of values is needed, got 5"),
        ({}, "there are none"),
        ([], "there are none"),
        (pd.DataFrame({"id": []}), "there are none"),
        ([{"id": "a", "prediction": "y"}, ["b"]], r"row 1 is \['b'\]; a dict is needed"),
        ("id,prediction\na,y", "got str"),
        (None, "got NoneType"),
        (pd.DataFrame([["a", "b", "y"]], columns=["id", "id", "prediction"]), r"columns \['id'\] stand twice"),
        (pa.table([["a"], ["y"], ["n"]], names=["id", "prediction", "prediction"]), r"\['prediction'\] stand twice"),
        ([{"id": "a", "prediction": "y", 1: 2, "1": 3}], r"\['1'\] stand twice"),
        (pd.Series([1]), "got Series"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_the_reason(columns, rule):
    with pytest.raises(InvalidData, match=rule):
        predictions(columns)


def test_more_rows_than_a_call_may_have_are_refused(monkeypatch):
    monkeypatch.setattr(tabular_input, "MOST_ROWS", 2)
    with pytest.raises(InvalidData, match="3 in one call, the limit is 2"):
        predictions({"id": ["a", "b", "c"], "prediction": ["y"] * 3})


def test_odd_features_are_let_in():
    rows = [
        {"id": "a", "prediction": "y", "x": float("nan"), "mixed": 1, "big": 2**70, "day": dt.date(2024, 1, 1)},
        {"id": "b", "prediction": "y", "x": float("inf"), "mixed": "n/a", "big": True, "day": "never"},
        {"id": "c", "prediction": "y", "x": 3, "mixed": decimal.Decimal("1.50"), "new": None},
    ]
    table = predictions(rows)
    assert str(table["x"].to_pylist()) == "[nan, inf, 3.0]"
    assert table["mixed"].to_pylist() == ["1", "n/a", "1.50"]
    assert table["big"].to_pylist() == [2.0**70, 1.0, None]
    assert table["day"].to_pylist() == ["2024-01-01", "never", None]
    assert table["new"].to_pylist() == [None, None, None]


def test_nan_stays_nan_in_every_container():
    rows = {"id": ["a", "b"], "prediction": ["y", "n"], "x": [float("nan"), 1.0]}
    for container in (rows, pd.DataFrame(rows), pa.table(rows)):
        assert str(predictions(container)["x"].to_pylist()) == "[nan, 1.0]"


def test_version_arm_and_latency_are_kept():
    table = predictions(
        {
            "id": ["a", "b"],
            "prediction": ["y", "n"],
            "version": [3, 4],
            "arm": ["shadow", None],
            "latency_ms": [1, "2.5"],
        }
    )
    assert table["version"].to_pylist() == ["3", "4"]
    assert table["arm"].to_pylist() == ["shadow", "champion"]
    assert table["latency_ms"].to_pylist() == [1.0, 2.5]


def test_labels_keep_their_type_and_numeric_outcomes():
    for given_label in (["yes", "no"], [1, 0], [1.5, float("inf")], [True, False]):
        table = labels(
            {"id": [7, "b"], "label": given_label, "profit": [1, 2], "won": [True, None], "note": ["x", "y"]}
        )
        assert table["label"].to_pylist() == given_label
        assert table.column_names == ["id", "time", "label", "profit", "won"]
        assert table["profit"].type == pa.float64()
        assert table["won"].to_pylist() == [1.0, None]
        assert times(table) == [NOW_TEXT] * 2


def test_the_target_is_as_good_as_label():
    assert labels([{"id": "a", "left": "yes"}])["label"].to_pylist() == ["yes"]


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"id": ["a", "b"], "label": ["y", None]}, r"'label': None in row 1 is no label"),
        ({"id": ["a", "b"], "label": [1.0, float("nan")]}, r"'label': nan in row 1 is no label"),
        ({"id": ["a"], "label": [dt.date(2024, 1, 1)]}, r"'label': .* in row 0 is of type date32"),
        ({"id": ["a"], "label": [[1]]}, r"'label': \[1\] in row 0"),
        ({"id": ["a"], "other": [1]}, r"'label' or 'left' is needed, got \['id', 'other'\]"),
        ({"id": [None], "label": [1]}, r"'id': None in row 0 is no id"),
        ([], "there are none"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_with_the_reason(columns, rule):
    with pytest.raises(InvalidData, match=rule):
        labels(columns)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3),
    st.dates(), st.datetimes(), st.decimals(), st.lists(st.integers(), max_size=2), st.just(pd.NA), st.just(pd.NaT),
)  # fmt: skip
KEYS = st.sampled_from(["id", "time", "prediction", "probability", "label", "latency_ms", "version", "arm", "x", "y"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=8), max_size=4), st.sampled_from([BINARY, CLASSES, NUMBER]))
def test_any_payload_is_a_table_of_as_many_rows_or_is_refused(rows, spec):
    for checked in (checked_predictions, checked_labels):
        try:
            table = checked(rows, spec, NOW)
        except InvalidData:
            continue
        assert table.num_rows == len(rows)
        assert storable_rows(table).num_rows == len(rows)
        assert table["id"].null_count == table["time"].null_count == 0


@pytest.mark.parametrize("name", ["mixture_slots", "mixture_digest", "said_0", "said_12"])
def test_nobody_who_records_rows_may_tell_what_the_slots_of_a_mixture_said(name):
    with pytest.raises(InvalidData, match=f"column '{name}': only a gateway records the columns of a mixture"):
        predictions({"id": ["a"], "probability": [0.5], name: [0.5]})
