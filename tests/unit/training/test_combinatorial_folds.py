import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.codec import decode, encode, model_from, plain
from optagent.domain.dataset import FileSource
from optagent.domain.fold_scheme import FoldScheme
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.folds import make_folds, split
from optagent.training.problem import average_repeats
from optagent.training.row_times import instants

SKFOLIO = json.loads((Path(__file__).parent / "skfolio_splits.json").read_text())
"""Written by skfolio_splits.py."""


def ordered(scheme: FoldScheme, horizon: str | float = 0.0, **fields: Any) -> ModelSpec:
    time = fields or {"rows_in_time_order": True}
    return ModelSpec("m", Task.REGRESSION, FileSource("rows.csv"), "y", folds=scheme, label_horizon=horizon, **time)


def purged(groups: int = 8, test: int = 2, embargo: str | float = 0.0) -> FoldScheme:
    return FoldScheme("combinatorial_purged", groups, test, embargo)


def rows_of(runs: list[list[int]]) -> list[int]:
    return [row for start, count in runs for row in range(start, start + count)]


@pytest.mark.parametrize("entry", SKFOLIO, ids=lambda entry: "-".join(map(str, entry["case"])))
def test_the_splits_are_those_of_skfolio(entry: dict[str, Any]) -> None:
    rows, groups, test, horizon, embargo = entry["case"]
    time = np.arange(rows, dtype=np.float64)
    folds = make_folds(time, time, ordered(purged(groups, test, embargo), horizon), np.arange(rows))
    assert [(fold.train.tolist(), fold.valid.tolist()) for fold in folds] == [
        (rows_of(train), rows_of(valid)) for train, valid in entry["splits"]
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(3, 7),
    st.integers(1, 4),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.sampled_from([0.0, 2.0]),
)
def test_no_training_row_shares_a_label_window_or_an_instant_with_a_row_that_judges(
    seed: int, groups: int, test: int, horizon: float, embargo: float
) -> None:
    rng = np.random.default_rng(seed)
    time = rng.integers(0, rng.integers(8, 80), 150).astype(np.float64)
    try:
        folds = make_folds(time, time, ordered(purged(groups, min(test, groups - 1), embargo), horizon), np.arange(150))
    except InvalidData:  # too few distinct times, or nothing left after purging
        return
    for fold in folds:
        gap = time[fold.train][:, None] - time[fold.valid]
        assert not (gap == 0).any()
        assert ((gap < 0) & (gap + horizon >= 0)).sum() == 0
        assert fold.group is not None
        for number in np.unique(fold.group):
            end = time[fold.valid[fold.group == number]].max()
            assert not ((time[fold.train] > end) & (time[fold.train] <= end + horizon + embargo)).any()
    counts = np.bincount(np.concatenate([fold.valid for fold in folds]), minlength=150)
    assert set(counts) == {ordered(purged(groups, min(test, groups - 1))).folds.paths}  # type: ignore[union-attr]


def test_a_scheme_is_written_in_yaml_kept_and_read_again() -> None:
    fields = {"scheme": "combinatorial_purged", "groups": 6, "test": 2, "embargo": "5d"}
    spec = model_from(
        {"id": "m", "task": "regression", "data": "/r.csv", "target": "y", "time_column": "t", "folds": fields}
    )
    assert spec.folds == FoldScheme("combinatorial_purged", 6, 2, "5d")
    assert decode(ModelSpec, encode(spec)) == spec
    assert plain(spec)["folds"] == fields


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"scheme": "purged"}, "unknown scheme 'purged'"),
        ({"groups": 4}, "scheme: field required"),
        ({"scheme": "combinatorial_purged", "group": 4}, "unknown field group; one of"),
        ({"scheme": "combinatorial_purged", "groups": 2}, "groups must be between 3 and 20, got 2"),
        ({"scheme": "combinatorial_purged", "test": 8}, "test must be at least 1 and below groups, got 8 of 8"),
        ({"scheme": "combinatorial_purged", "test": 0}, "test must be at least 1"),
        ({"scheme": "combinatorial_purged", "groups": 10, "test": 5}, "at most 120 splits.*got 252"),
        ({"scheme": "combinatorial_purged", "embargo": -1}, "embargo must be finite and not negative, got -1"),
        ({"scheme": "combinatorial_purged", "embargo": "soon"}, "'soon' is not a duration"),
    ],
)
def test_a_wrong_scheme_is_refused_by_name_and_rule(fields: dict[str, Any], says: str) -> None:
    model = {"id": "m", "task": "regression", "data": "/r.csv", "target": "y", "time_column": "t", "folds": fields}
    with pytest.raises(InvalidRequest, match=says):
        model_from(model)


def test_rows_without_an_order_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="combinatorial_purged needs a time_column, or rows_in_time_order"):
        ModelSpec("m", Task.REGRESSION, FileSource("rows.csv"), "y", folds=purged())


@pytest.mark.parametrize(
    ("rows", "spec", "says"),
    [
        (8, ordered(purged()), "8 rows are too few for 8 folds"),
        (40, ordered(purged(), 40), "no training row is left after purging a label horizon of 40 and an embargo of 0"),
    ],
)
def test_too_few_rows_are_refused(rows: int, spec: ModelSpec, says: str) -> None:
    time = np.arange(rows, dtype=np.float64)
    with pytest.raises(InvalidData, match=says):
        make_folds(time, time, spec, np.arange(rows))
    with pytest.raises(InvalidData, match="3 distinct times are too few for 8 groups"):
        make_folds(np.arange(rows) % 3.0, time, ordered(purged()), np.arange(max(rows, 9)) % rows)


def test_an_embargo_is_a_duration_with_dates_and_a_number_otherwise() -> None:
    dates = pa.table({"t": pa.array(["2024-01-01", "2024-01-02"])})
    with pytest.raises(InvalidData, match=r"embargo 5\.0: with time_column 't' it is a duration such as 24h"):
        instants(dates, ordered(purged(embargo=5.0), time_column="t"))
    with pytest.raises(InvalidData, match="embargo '5d': with rows_in_time_order it is a number"):
        instants(dates, ordered(purged(embargo="5d")))


def test_no_split_sees_the_holdout() -> None:
    time = np.arange(200, dtype=np.float64)
    spec = ordered(purged(embargo=2), 3)
    parts = split(time, time, spec)
    folds = make_folds(time[parts.dev], time[parts.dev], spec, np.arange(len(parts.dev)))
    assert max(fold.train.max() for fold in folds) < len(parts.dev)
    assert time[parts.dev].max() + 3 < time[parts.holdout].min()


def test_repeated_predictions_of_a_row_are_averaged_by_class_too() -> None:
    rows, mean = average_repeats(np.array([1, 0, 1]), np.array([[0.2, 0.8], [0.5, 0.5], [0.4, 0.6]]))
    assert rows.tolist() == [0, 1]
    np.testing.assert_allclose(mean, [[0.5, 0.5], [0.3, 0.7]])
