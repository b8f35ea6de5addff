"""Training rows: the next version learns from the model's data, and from the live rows that came after it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData
from optagent.loop.train.training_rows import TrainingRows, read_training_rows

START = 1_700_000_000.0
DAY = 86_400.0
SPEC = ModelSpec("churn", Task.BINARY, FileSource("rows"), "label", time_column="day", label_horizon="1d", folds=2)


def times(count: int, start: float) -> pa.Array:
    return pa.array(((start + np.arange(count) * DAY) * 1e6).astype("int64"), pa.int64()).cast(pa.timestamp("us"))


def own(count: int = 60, **columns: Any) -> pa.Table:
    defaults = {
        "day": times(count, START),
        "a": pa.array(np.arange(count, dtype=float)),
        "units": pa.array(np.arange(count), pa.int32()),
        "city": pa.array(["Bern", "Oslo"] * (count // 2)).dictionary_encode(),
        "label": pa.array(["no", "yes"] * (count // 2)),
    }
    return pa.table({**defaults, **columns})


def live(count: int = 40, start: float = START + 60 * DAY, **columns: Any) -> pa.Table:
    defaults = {
        "id": pa.array([f"row {index}" for index in range(count)]),
        "day": times(count, start).cast(pa.timestamp("us", "UTC")),
        "a": pa.array(np.arange(count, dtype=float)),
        "units": pa.array([None, *range(count - 1)], pa.float64()),
        "city": pa.array(["Rome"] * count),
        "label": pa.array(["no", "yes"] * (count // 2)),
        "profit": pa.array(np.ones(count)),
    }
    return pa.table({**defaults, **columns})


def read_rows(table: pa.Table, *days: pa.Table, spec: ModelSpec = SPEC, until: float = 2e9) -> TrainingRows:
    observations = InMemoryObservations()
    for rows in days:
        day = rows.column(spec.time_column or "time")[0].as_py()
        observations.save_matured("churn", day.strftime("%Y-%m-%d"), rows)
    return read_training_rows(spec, InMemoryDatasets({"rows": table}), observations, until)


def test_live_rows_follow_the_models_own_with_its_columns_and_new_categories():
    both = read_rows(own(), live())
    assert (both.live_rows, both.table.num_rows) == (40, 100)
    assert both.table.column_names == own().column_names
    assert both.table["units"].null_count == 1
    assert set(both.table["city"].cast(pa.string()).to_pylist()) == {"Bern", "Oslo", "Rome"}
    prepared = both.prepare(seed=0)
    assert len(prepared.problem.data) + len(prepared.holdout) >= 98
    assert prepared.holdout_time is not None
    assert prepared.holdout_time.min() > START + 60 * DAY


def test_only_rows_up_to_the_moment_are_taken_so_that_they_can_be_read_again():
    assert read_rows(own(), live(), until=START + 70 * DAY).live_rows == 10
    assert read_rows(own(), until=START).live_rows == 0


def test_a_live_row_that_the_models_data_has_already_is_not_taken_twice():
    assert read_rows(own(), live(start=START + 50 * DAY)).live_rows == 30


def test_rows_without_an_order_have_one_once_live_rows_came_later():
    spec = replace(SPEC, time_column=None, label_horizon=0.0)
    rows = live().rename_columns(["id", "time", "a", "units", "city", "label", "profit"])
    both = read_rows(own().drop_columns(["day"]), rows, spec=spec)
    assert both.spec.rows_in_time_order
    assert both.live_rows == 40
    assert not read_rows(own().drop_columns(["day"]), spec=spec).spec.time_ordered


def test_times_that_are_numbers_cannot_be_continued_by_dates_and_it_says_so():
    spec = replace(SPEC, label_horizon=0.0)
    both = read_rows(own(day=pa.array(np.arange(60))), live(), spec=spec)
    assert both.live_rows == 0
    assert "live rows are left out" in both.notes[0]


def test_a_column_that_cannot_be_what_it_was_is_named():
    with pytest.raises(InvalidData, match="live rows: column 'a' cannot be read as double"):
        read_rows(own(), live(a=pa.array(["much"] * 40)))


def test_a_column_that_live_rows_lack_is_missing_in_them():
    both = read_rows(own(), live().drop_columns(["a"]))
    assert both.table["a"].null_count == 40
    assert datetime.fromtimestamp(START, UTC).year == 2023


def test_a_history_of_daily_rows_is_read_in_one_piece_beside_the_models_own():
    """Arithmetic on a column costs the same for each of its pieces, however few rows it has."""
    days = [live(2, START + (60 + 2 * day) * DAY) for day in range(30)]
    rows = read_rows(own(), *days).table

    assert rows.column("a").num_chunks <= 2
    assert rows.column("a").to_pylist()[60:] == [0.0, 1.0] * 30


def test_days_whose_columns_changed_meanwhile_are_read_in_their_order():
    early, late = (live(2, START + (60 + day) * DAY, a=pa.array([day, day + 1])) for day in (0, 4))
    between = live(2, START + 62 * DAY).drop_columns(["units"])
    rows = read_rows(own(), early, between, late).table

    assert rows.column("a").to_pylist()[60:] == [0.0, 1.0, 0.0, 1.0, 4.0, 5.0]
    assert rows.column("units").to_pylist()[60:] == [None, 0, None, None, None, 0]
