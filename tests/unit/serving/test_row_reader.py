"""Row reader: rows by name become the matrix that training makes of them, or are refused by row and name."""

import math
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.domain.model import Task
from optagent.errors import InvalidData
from optagent.serving.row_reader import RowReader
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema, encode

COLUMNS = (
    FeatureColumn("amount", Kind.NUMERIC),
    FeatureColumn("open", Kind.BOOLEAN),
    FeatureColumn("city", Kind.CATEGORICAL, ("Bern", "Zürich")),
    FeatureColumn("shop", Kind.CATEGORICAL, ("1", "2.5", "true"), other=True),
    FeatureColumn("day", Kind.DATETIME),
)
SCHEMA = Schema(COLUMNS, "label", Task.REGRESSION)
READER = RowReader(SCHEMA)
ROW = {"amount": 1.5, "open": True, "city": "Zürich", "shop": "2.5", "day": "2024-01-31T08:00:00"}
TYPES = pa.schema(
    {"amount": pa.float64(), "open": pa.bool_(), "city": pa.string(), "shop": pa.string(), "day": pa.timestamp("us")}
)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001
GOOD = st.fixed_dictionaries(
    {
        "amount": st.none() | st.just(math.nan) | st.floats(-3.4e38, 3.4e38) | st.integers(-(2**53), 2**53),
        "open": st.none() | st.booleans(),
        "city": st.none() | st.sampled_from(["Bern", "Zürich", "Atlantis", ""]),
        "shop": st.none() | st.sampled_from(["1", "2.5", "true", "else"]),
        "day": st.none() | MOMENTS,
    }
)


def as_text(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"day": row["day"] and row["day"].isoformat()}


@given(st.lists(GOOD, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_good_rows_are_read_as_training_reads_them(rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=TYPES)
    expected = encode(table, SCHEMA)
    texts = [as_text(row) for row in rows]
    columns = {name: [row[name] for row in texts] for name in SCHEMA.names}
    one_by_one = np.concatenate([READER.read(row) for row in texts])
    for matrix in (READER.read(rows), READER.read(texts), READER.read(columns), one_by_one, READER.read(table)):
        assert matrix.dtype == np.float32
        assert matrix.flags.c_contiguous
        np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("1970-01-02", 1.0),
        ("1970-01-02T12", 1.5),
        ("1970-01-02 12:00", 1.5),
        ("1970-01-02T12:00:00.000000Z", 1.5),
        ("1970-01-02T13:00:00+01:00", 1.5),
        (129_600, 1.5),
        (datetime(1970, 1, 2, 12, tzinfo=UTC), 1.5),
        (date(1970, 1, 2), 1.0),
        (np.datetime64("1970-01-02T12"), 1.5),
    ],
)
def test_a_date_may_be_written_in_these_ways(text: object, days: float) -> None:
    assert READER.read(ROW | {"day": text})[0, 4] == days
    assert READER.read([ROW | {"day": text}, ROW])[0, 4] == days


@pytest.mark.parametrize(
    ("value", "code"), [(1, 0.0), (2.5, 1.0), (True, 2.0), (np.int64(1), 0.0), ("x", 3.0), (None, math.nan)]
)
def test_a_number_stands_for_the_text_that_training_made_of_it(value: object, code: float) -> None:
    np.testing.assert_equal(READER.read(ROW | {"shop": value})[0, 3], np.float32(code))


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("amount", "1.5", "takes a number or null, got str '1.5'"),
        ("amount", [1], "takes a number or null, got list"),
        ("amount", math.inf, "takes a finite 32-bit number, got float inf"),
        ("amount", 1e39, "takes a finite 32-bit number, got float 1e\\+39"),
        ("amount", 10**400, "takes a finite 32-bit number, got int 1000"),
        pytest.param("amount", 10**5000, "takes a finite 32-bit number, got int of too many digits", id="5000 digits"),
        ("open", "yes", "takes true, false, 1, 0 or null, got str 'yes'"),
        ("open", 2, "takes true, false, 1, 0 or null, got int 2"),
        ("city", {"a": 1}, "takes a text or null, got dict"),
        ("city", math.inf, "takes a text or null, got float inf"),
        ("city", 2**64, "takes a text or null, got int"),
        ("day", "yesterday", "takes an ISO 8601 text, seconds since 1970 or null, got str 'yesterday'"),
        ("day", "2024-02-30", "takes an ISO 8601 text"),
        ("day", "20240131", "takes an ISO 8601 text"),
        ("day", True, "takes an ISO 8601 text"),
        ("day", 1.7e12, "up to the year 9999"),
        ("day", "\ud800", "takes an ISO 8601 text"),
    ],
)
def test_a_wrong_value_is_refused_by_row_column_and_rule(column: str, value: object, rule: str) -> None:
    bad = ROW | {column: value}
    for rows, number in ((bad, 0), ([bad], 0), ([ROW, ROW, bad], 2)):
        with pytest.raises(InvalidData, match=f"^row {number}: column '{column}' .*{rule}"):
            READER.read(rows)
    with pytest.raises(InvalidData, match=f"^row 1: column '{column}'"):
        READER.read({name: [ROW[name], bad[name]] for name in ROW})


def test_a_missing_column_is_refused_and_null_is_not() -> None:
    short = {name: value for name, value in ROW.items() if name != "city"}
    with pytest.raises(InvalidData, match="row 1: the column 'city' is missing; give null"):
        READER.read([ROW, short])
    with pytest.raises(InvalidData, match="columns: the column 'city' is missing"):
        READER.read(pa.Table.from_pylist([short]))
    assert np.isnan(READER.read(dict.fromkeys(ROW))).all()


def test_an_unknown_column_is_refused_with_the_known_ones_unless_told_otherwise() -> None:
    odd = ROW | {"amuont": 1}
    with pytest.raises(InvalidData, match=r"row 1: no column 'amuont'; the columns are \['amount'"):
        READER.read([ROW, odd])
    with pytest.raises(InvalidData, match="no column 'amuont'"):
        READER.read(pa.Table.from_pylist([odd]))
    with pytest.raises(InvalidData, match="names of columns are texts, got int 3"):
        READER.read(ROW | {3: 1})
    lenient = RowReader(SCHEMA, ignore_unknown=True)
    for rows in (odd, [odd, ROW], {name: [value] for name, value in odd.items()}):
        np.testing.assert_array_equal(lenient.read(rows)[:1], READER.read(ROW))


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        ([], "there is none"),
        ({name: [] for name in ROW}, "there is none"),
        ([ROW] * 4, "4 in one call, the limit is 3"),
        (pa.Table.from_pylist([ROW] * 4), "4 in one call, the limit is 3"),
        ("text", "an object or a list of objects is needed, got str 'text'"),
        (None, "an object or a list of objects is needed"),
        ([ROW, 3], "row 1: an object of columns and values is needed, got int 3"),
        ({name: [value] for name, value in ROW.items()} | {"day": [None] * 2}, "'day' has 2 values and 'amount' 1"),
        ({}, "row 0: the column 'amount' is missing"),
        (pa.table([[1.0], [2.0]], names=["amount", "amount"]), "'amount' stands twice"),
        (pa.Table.from_pylist([ROW | {"city": [1]}]), "list"),
        (pa.Table.from_pylist([ROW | {"amount": "many"}]), "'amount' is numeric, got values of type string"),
    ],
)
def test_what_is_no_set_of_rows_is_refused(rows: object, rule: str) -> None:
    with pytest.raises(InvalidData, match=rule):
        RowReader(SCHEMA, most_rows=3).read(rows)


def test_a_record_batch_is_read_as_a_table() -> None:
    table = pa.Table.from_pylist([ROW, ROW])
    np.testing.assert_array_equal(READER.read(table.to_batches()[0]), READER.read(table))
