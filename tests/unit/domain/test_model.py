"""A model specification is checked before it is stored."""

from pathlib import Path

import pytest

from optagent.codec import decode, encode, model_from, plain
from optagent.domain.dataset import FileSource, SqlSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidRequest

CHURN = {"id": "churn", "task": "binary", "data": "/rows.csv", "target": "label"}


def test_a_model_survives_a_round_trip_through_json():
    spec = model_from(
        {
            **CHURN,
            "time_column": "day",
            "label_horizon": "2d",
            "entity": "customer",
            "history": {"key": "customer", "lags": [1, 7], "rolling": [7, 30], "columns": ["amount"]},
            "search_space": {"lightgbm": {"num_leaves": {"high": 31}}},
        }
    )
    assert decode(ModelSpec, encode(spec)) == spec
    assert spec.horizon == 172_800.0


def test_data_is_a_path_a_uri_with_its_format_or_a_query(tmp_path: Path):
    assert model_from(CHURN | {"data": "rows.csv"}, folder=tmp_path).data == FileSource(str(tmp_path / "rows.csv"))
    assert model_from(CHURN | {"data": {"uri": "s3://b/*.gz", "format": "csv"}}).data == FileSource(
        "s3://b/*.gz", "csv"
    )
    query = {"url": "sqlite:///x.db", "query": "select 1"}
    assert model_from(CHURN | {"data": query}).data == SqlSource(**query)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targett": "y"}, r"unknown field targett; one of \['class_weight', 'data'"),
        ({"id": "a b"}, "model_id 'a b': up to 100 of letters"),
        ({"id": "../x"}, "model_id '../x'"),
        ({"task": "ranking"}, "task: input should be 'binary', 'multiclass' or 'regression', got 'ranking'"),
        ({"target": ""}, "target: a column is needed"),
        ({"folds": 1}, "folds must be between 2 and 20, got 1"),
        ({"folds": "many"}, "folds: a whole number or a mapping with a scheme is needed, got 'many'"),
        ({"holdout_fraction": 0.9}, "holdout_fraction must be between 0.05 and 0.5, got 0.9"),
        ({"label_horizon": "1d"}, "label_horizon needs a time_column, or rows_in_time_order"),
        ({"label_horizon": "soon", "time_column": "t"}, "'soon' is not a duration"),
        ({"label_horizon": -1, "time_column": "t"}, "label_horizon must not be negative, got -1"),
        ({"time_column": "t", "rows_in_time_order": True}, "not both"),
        ({"entity": "label"}, "entity: 'label' must be a column beside the target and the time"),
        ({"history": {"lags": [1]}}, "history needs a time_column"),
        ({"time_column": "t", "history": {"key": "k"}}, r"give lags, rolling, or both, such as lags: \[1, 7\]"),
        ({"time_column": "t", "history": {"lags": [0]}}, "lags are whole numbers from 1 to 1000, got 0"),
        ({"time_column": "t", "history": {"rolling": [7, 1001]}}, "rolling are whole numbers from 1 to 1000, got 1001"),
        ({"time_column": "t", "history": {"lags": [*range(1, 22)]}}, "at most 20 lags, got 21"),
        ({"time_column": "t", "history": {"lags": [1, 1]}}, "history: lags: one stands twice"),
        ({"time_column": "t", "history": {"lags": [1.5]}}, "lags.0: input should be a valid integer"),
        ({"time_column": "t", "history": {"lag": [1]}}, r"unknown field lag; one of \['columns', 'key', 'lags'"),
        ({"time_column": "t", "history": {"lags": [1], "key": "t"}}, "the key 't' must be a column beside"),
        ({"time_column": "t", "history": {"lags": [1], "key": "label"}}, "the key 'label' must be a column beside"),
        ({"time_column": "t", "history": {"lags": [1], "key": "a", "columns": ["a"]}}, "the key 'a' names a series"),
        ({"time_column": "t", "history": {"lags": [1], "columns": ["label"]}}, "'label' is the target, whose earlier"),
        (
            {"time_column": "t", "features": ["a"], "history": {"lags": [1], "columns": ["b"]}},
            r"'b' is not among the features \['a'\]",
        ),
        ({"features": ["a", "label"]}, "the target 'label' cannot be a feature"),
        ({"families": ["xgboost", "xgboost"]}, "families: a name stands twice"),
        ({"class_weight": "heavy"}, "class_weight: unknown 'heavy'"),
        ({"weights": "heavy"}, "weights: unknown 'heavy'"),
        ({"weights": "uniqueness"}, "uniqueness needs a label_horizon above 0"),
        ({"task": "regression", "class_weight": "balanced"}, "balanced is for classifiers"),
        (
            {"task": "regression", "positive_class": "yes"},
            "positive_class is for binary models, this one is regression",
        ),
        ({"data": 3}, "data: a path"),
        ({"data": {"uri": "x", "query": "select 1"}}, "SqlSource: unknown field uri"),
        ({"data": {"uri": "x", "format": "xls"}}, r"unknown format 'xls'; one of \['parquet', 'csv', 'arrow'\]"),
        ({"data": {"url": "host", "query": "select 1"}}, "the url is not a SQLAlchemy URL"),
    ],
)
def test_a_model_that_breaks_a_rule_is_refused_with_the_value_and_the_rule(change, message):
    with pytest.raises(InvalidRequest, match=message):
        model_from(CHURN | change)


def test_what_is_no_mapping_is_no_model():
    with pytest.raises(InvalidRequest, match="a model is a mapping of fields, got list"):
        model_from(["churn"])  # type: ignore[arg-type]


def test_a_missing_field_is_named():
    with pytest.raises(InvalidRequest, match="target: field required"):
        model_from({name: value for name, value in CHURN.items() if name != "target"})


def test_plain_data_holds_scalars_only():
    assert plain(model_from(CHURN))["task"] == Task.BINARY.value
