"""The times and columns that a client sends do not decide how many files the archive has."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.state.archive.manifest import ArchivedCall
from optagent.adapters.state.archive.parquet import ParquetArchive
from optagent.domain.model import Task
from optagent.loop.observe.window_rows import labels_of
from optagent.ports import RecordKind
from optagent.training.encoding import Schema

CAME_MS = 1_700_049_600_000  # 2023-11-15T12:00:00Z
DAY_S = 86_400
PREDICTIONS, LABELS = RecordKind.PREDICTIONS, RecordKind.LABELS
ALWAYS = (float("-inf"), float("inf"))


@pytest.fixture
def archive(tmp_path: Path) -> ParquetArchive:
    return ParquetArchive(tmp_path)


def rows_at(seconds: Sequence[float], start: int = 0, **columns: object) -> pa.Table:
    times = pa.array([round(second * 1e6) for second in seconds], pa.int64()).cast(pa.timestamp("us", "UTC"))
    ids = pa.array([f"id-{start + row}" for row in range(len(seconds))], pa.large_string())
    return pa.table({"id": ids, "time": times, **columns})


def call(kind: RecordKind, number: int, rows: pa.Table) -> ArchivedCall:
    return ArchivedCall("epoch", f"{CAME_MS + number}-0", kind, rows)


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.parquet"))


def ids(tables: Sequence[pa.Table]) -> list[str]:
    return sorted(item for table in tables for item in table["id"].to_pylist())


def days_apart(count: int) -> list[float]:
    return [1.0e9 + DAY_S * day for day in range(count)]


def test_labels_of_a_thousand_days_lie_in_the_file_of_the_day_on_which_they_came(archive, tmp_path):
    archive.append("churn", [call(LABELS, 0, rows_at(days_apart(1000)))], "0-0")
    (file,) = files(tmp_path)
    assert file.parent.name == "day=2023-11-15"
    assert ids(archive.rows("churn", LABELS, 1.0e9 + 500 * DAY_S, float("inf"))) == sorted(
        f"id-{row}" for row in range(500, 1000)
    )


def test_predictions_of_a_thousand_days_are_at_most_65_files_and_each_day_is_found(archive, tmp_path):
    seconds = [second + row for second in days_apart(1000) for row in range(3)]
    archive.append("churn", [call(PREDICTIONS, 0, rows_at(seconds[::-1]))], "0-0")
    assert len(files(tmp_path)) == 65
    assert len(ids(archive.rows("churn", PREDICTIONS, *ALWAYS))) == 3000
    for day in (0, 499, 999):
        start = 1.0e9 + day * DAY_S
        assert len(ids(archive.rows("churn", PREDICTIONS, start, start + 2))) == 2


def test_a_new_column_in_each_call_of_a_commit_makes_a_bounded_number_of_files(archive, tmp_path):
    calls = [call(LABELS, number, rows_at([1e9], number, **{f"outcome_{number}": [1.0]})) for number in range(300)]
    archive.append("churn", calls, "0-0")
    assert len(files(tmp_path)) <= 73
    tables = archive.rows("churn", LABELS, *ALWAYS)
    assert len(tables) == 300
    assert ids(tables) == sorted(f"id-{number}" for number in range(300))
    assert archive.rows("churn", LABELS, 1e9 + 1, float("inf")) == []


def test_a_new_column_in_each_commit_does_not_make_a_file_a_commit_for_good(archive, tmp_path):
    count = 1100
    for number in range(count):
        rows = rows_at([1e9 + number * DAY_S], number, **{f"outcome_{number}": [1.0]})
        archive.append("churn", [call(LABELS, number, rows)], f"{CAME_MS + number}-0")
        archive.tidy("churn")
    assert len(files(tmp_path)) <= 520
    assert max((tmp_path / "churn" / "manifests").iterdir()).stat().st_size < 100_000
    assert ids(archive.rows("churn", LABELS, *ALWAYS)) == sorted(f"id-{number}" for number in range(count))


def test_small_files_of_many_days_become_few_and_days_are_still_read_alone(archive, tmp_path):
    for day in range(600):
        rows = rows_at([1e9 + day * DAY_S + row for row in range(5)], 5 * day)
        archive.append("churn", [call(PREDICTIONS, day, rows)], f"{CAME_MS + day}-0")
    archive.tidy("churn")
    assert len(files(tmp_path)) == 1
    start = 1e9 + 300 * DAY_S
    assert ids(archive.rows("churn", PREDICTIONS, start, start + DAY_S)) == [f"id-{row}" for row in range(1500, 1505)]


def test_a_window_of_a_file_of_many_days_is_read_without_the_rest(archive, tmp_path):
    seconds = np.repeat(days_apart(100), 2000) + np.tile(np.arange(2000), 100)
    archive.append("churn", [call(PREDICTIONS, 0, rows_at(seconds.tolist()))], "0-0")
    (mixed,) = [path for path in files(tmp_path) if path.parent.name == "day=mixed"]
    groups = pa.parquet.read_metadata(mixed).num_row_groups
    assert groups > 1
    data = bytearray(mixed.read_bytes())
    data[4:2000] = bytes(1996)  # the first group, and with it the earliest days
    mixed.write_bytes(data)
    last = pa.parquet.read_metadata(mixed).row_group(groups - 1).column(1).statistics.max_raw / 1e6
    assert len(ids(archive.rows("churn", PREDICTIONS, last, last + 1))) == 1


def test_outcomes_of_any_number_of_names_become_a_hundred_columns():
    schema = Schema(task=Task.BINARY, target="label", columns=(), classes=("no", "yes"))
    tables = [rows_at([1e9], number, **{f"outcome_{number:04d}": [1.0]}) for number in range(500)]
    tables.append(rows_at([1e9, 1e9], 500, profit=[1.0, 2.0]))
    labels = labels_of(tables, schema)
    assert len(labels.outcome) == 100
    assert labels.outcome["profit"][-2:].tolist() == [1.0, 2.0]


def test_a_day_that_is_over_keeps_few_files_however_often_it_was_added_to(archive, tmp_path):
    for number in range(160):
        rows = rows_at([1e9 + number * DAY_S / 40], number)
        archive.append("churn", [call(PREDICTIONS, number, rows)], f"{CAME_MS + number}-0")
        archive.tidy("churn")
    days: dict[str, int] = {}
    for path in files(tmp_path):
        days[path.parent.name] = days.get(path.parent.name, 0) + 1
    newest = max(days)
    assert len(days) >= 4
    assert all(count <= 4 for day, count in days.items() if day != newest)
    assert len(ids(archive.rows("churn", PREDICTIONS, *ALWAYS))) == 160
