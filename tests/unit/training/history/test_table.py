from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.history import HistorySpec
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData
from optagent.training.encoding import columns_of, encode, fit_schema
from optagent.training.history.table import complete_history, ensure_history

HISTORY = HistorySpec(key="shop", lags=(1,), rolling=(2,))


def spec_of(**fields: Any) -> ModelSpec:
    return ModelSpec(
        "sales", Task.REGRESSION, FileSource("rows"), "sold", **{"time_column": "day", "history": HISTORY} | fields
    )


def table_of(**columns: Any) -> pa.Table:
    rows = {
        "shop": ["a", "b", "a", None, "a"],
        "day": ["2024-01-01", "2024-01-01", "2024-01-02", "2024-01-03", "2024-01-03T12:00:00"],
        "price": [1, 10, 3, 5, None],
        "colour": ["red", "blue", "red", "blue", "red"],
        "sold": [1.0, 2.0, 3.0, 4.0, 5.0],
    }
    return pa.table({**rows, **columns})


def test_each_row_gets_the_lags_the_means_and_the_time_since_of_its_key():
    table = complete_history(table_of(), spec_of())
    assert table.column_names[-3:] == ["price lag 1", "price mean 2", "time since the row before"]
    assert table["price lag 1"].to_pylist() == [None, None, 1.0, None, 3.0]
    assert table["price mean 2"].to_pylist() == [None, None, 1.0, None, 2.0]
    assert table["time since the row before"].to_pylist() == [None, None, 86_400.0, None, 129_600.0]


def test_the_schema_has_them_as_numbers_and_the_key_is_a_feature_only_where_it_is_named():
    table = complete_history(table_of(), spec_of())
    schema = fit_schema(table, spec_of())
    assert schema.names == ("price", "colour", "price lag 1", "price mean 2", "time since the row before")
    assert schema.history is not None
    assert (schema.history.columns, schema.history.key, schema.history.depth) == (("price",), "shop", 2)
    named = spec_of(features=("shop", "price"))
    assert fit_schema(table, named).names[:2] == ("shop", "price")
    assert columns_of(spec_of(features=("price",))) == ("price", "sold", "day", "shop")
    assert encode(table, schema).shape == (5, 5)


def test_values_that_a_row_brings_are_kept_and_others_are_computed():
    brought = table_of(**{"price lag 1": [7.0, None, None, 8.0, None]})
    table = complete_history(brought, spec_of())
    assert table["price lag 1"].to_pylist() == [7.0, None, 1.0, 8.0, 3.0]
    assert ensure_history(table, spec_of()) is table
    assert complete_history(table, spec_of()).equals(table)


def test_without_a_key_all_rows_are_one_series_and_without_columns_all_numeric_features_count():
    history = HistorySpec(lags=(1,))
    table = complete_history(table_of(size=[1.5, 2.5, 3.5, 4.5, 5.5]), spec_of(history=history, features=("size",)))
    assert table["size lag 1"].to_pylist() == [None, None, 2.5, 3.5, 4.5]
    assert "price lag 1" not in table.column_names


def test_keys_that_are_whole_numbers_are_alike_whatever_their_type():
    floats = complete_history(table_of(shop=[1.0, 2.0, 1.0, None, 1.0]), spec_of())
    texts = complete_history(table_of(shop=["1", "2", "1", None, "1"]), spec_of())
    assert floats["price lag 1"].equals(texts["price lag 1"])


@pytest.mark.parametrize(
    ("columns", "history", "message"),
    [
        ({"shop": [0.5, 1.0, 1.0, 1.0, 1.0]}, HISTORY, "the key 'shop' needs texts or whole numbers"),
        ({}, HistorySpec(key="shp", lags=(1,)), "history: no column 'shp'; the columns are .'shop'"),
        ({}, HistorySpec(lags=(1,), columns=("colour",)), "columns: 'colour' is of type string, not numeric"),
        ({}, HistorySpec(lags=(1,), columns=("prize",)), "history: columns: no column 'prize'"),
        ({"price": ["x"] * 5}, HISTORY, "no numeric feature has a past; name columns, or leave history out"),
        ({"day": ["2024-01-01", None, None, None, None]}, HISTORY, "4 rows without a time, the first is row 1"),
    ],
)
def test_what_has_no_past_is_refused_with_the_column_and_the_rule(columns, history, message):
    with pytest.raises(InvalidData, match=message):
        complete_history(table_of(**columns), spec_of(history=history))


def test_rows_after_a_time_change_no_feature_at_or_before_it():
    rng = np.random.default_rng(0)
    days = rng.permutation(200)
    times = (days * 86_400_000_000).astype("datetime64[us]")
    price = rng.normal(size=200)
    columns = {"shop": rng.integers(0, 4, 200), "day": times, "price": price, "sold": rng.normal(size=200)}
    changed = {**columns, "price": np.where(days > 120, 1e6, price), "sold": np.where(days > 120, -1.0, 1.0)}
    before, after = (complete_history(pa.table(each), spec_of()) for each in (columns, changed))
    early = pa.array(days <= 120)
    schema = fit_schema(before, spec_of())
    np.testing.assert_array_equal(encode(before.filter(early), schema), encode(after.filter(early), schema))
