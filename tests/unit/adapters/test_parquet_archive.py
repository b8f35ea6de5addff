import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from optagent.adapters.state.archive.manifest import ArchivedCall
from optagent.adapters.state.archive.parquet import ParquetArchive
from optagent.errors import Unavailable
from optagent.ports import RecordKind

NOON = 1_700_049_600
PREDICTIONS = RecordKind.PREDICTIONS
CHANGES = {"open", "os.link", "os.rename", "os.remove", "os.mkdir"}


class _Watch:
    """Sees each change of files below a folder before it happens. Hooks stay for ever, so there is one."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.before: Callable[[str], None] = lambda event: None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is not None and event in CHANGES and str(arguments[0]).startswith(self.folder):
            self.before(event)

    @contextmanager
    def over(self, folder: Path, before: Callable[[str], None]) -> Iterator[None]:
        self.folder, self.before = str(folder), before
        try:
            yield
        finally:
            self.folder = None


class PowerCut(BaseException):
    """Nothing can be changed from here on, not even in a `finally`."""


@pytest.fixture(scope="module")
def watch() -> _Watch:
    return _Watch()


@pytest.fixture
def archive(tmp_path: Path) -> ParquetArchive:
    return ParquetArchive(tmp_path)


def call(number: int, size: int = 3, epoch: str = "e", **columns: Any) -> ArchivedCall:
    """The rows of a call are its number and a letter; they lie in two days."""
    micros = pa.array([(NOON + row * 43_200) * 1_000_000 for row in range(size)], pa.int64())
    ids = pa.array([f"{number}{chr(97 + row)}" for row in range(size)], pa.large_string())
    rows = pa.table({"id": ids, "time": micros.cast(pa.timestamp("us", "UTC")), **columns})
    return ArchivedCall(epoch, f"{number}-0", PREDICTIONS, rows)


def ids(archive: ParquetArchive) -> list[str]:
    tables = archive.rows("churn", PREDICTIONS, float("-inf"), float("inf"))
    return sorted(item for table in tables for item in table["id"].to_pylist())


def ids_of(calls: Sequence[ArchivedCall]) -> list[str]:
    return sorted(item for one in calls for item in one.rows["id"].to_pylist())


def data_files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.parquet"))


def test_rows_lie_in_files_by_the_day_of_their_time(archive, tmp_path):
    archive.append("churn", [call(1), call(2)], "1-0")
    days = [str(path.parent.relative_to(tmp_path)) for path in data_files(tmp_path)]
    assert days == ["churn/predictions/day=2023-11-15", "churn/predictions/day=2023-11-16"]


def test_a_call_that_comes_again_in_another_grouping_is_recognised(archive, tmp_path):
    calls = [call(number) for number in range(1, 7)]
    assert archive.append("churn", calls[:3], "1-0") == 9
    assert archive.append("churn", calls[:3], "1-0") == 0
    assert ParquetArchive(tmp_path).append("churn", calls[1:5], "2-0") == 6
    assert archive.append("churn", calls, "1-0") == 3
    assert archive.append("churn", calls[:1], "1-0") == 0
    assert ids(archive) == ids_of(calls)


def test_an_id_of_another_epoch_is_another_call(archive):
    archive.append("churn", [call(5)], "5-0")
    assert archive.append("churn", [call(1, epoch="f")], "1-0") == 3
    assert archive.append("churn", [call(1)], "1-0") == 0


def test_ids_are_forgotten_when_they_cannot_come_again_but_late(archive, tmp_path):
    for number in range(1, 20):
        archive.append("churn", [call(number)], f"{number}-0")
    newest = max((tmp_path / "churn" / "manifests").iterdir())
    assert '"held": {"e": ["19-0"]}' in newest.read_text()
    assert archive.append("churn", [call(number) for number in range(1, 20)], "19-0") == 0


def cut_everywhere(watch: _Watch, root: Path, prepare: Callable[[Path], None], cut: Callable[[Path], None]) -> int:
    """Cuts the power before the first change of files, the second, and so on, each time in a folder of its own."""
    for survived in range(1000):
        folder = root / str(survived)
        prepare(folder)
        left = [survived]

        def before(event: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise PowerCut

        try:
            with watch.over(folder, before):
                cut(folder)
        except PowerCut:
            continue
        return survived
    raise AssertionError("it never ended")


def test_power_that_fails_anywhere_in_an_append_neither_loses_nor_doubles_a_call(watch, tmp_path):
    calls = [call(number) for number in range(1, 5)]

    def prepare(folder: Path) -> None:
        ParquetArchive(folder).append("churn", calls[:1], "1-0")

    def cut(folder: Path) -> None:
        ParquetArchive(folder).append("churn", calls[1:3], "2-0")

    changes = cut_everywhere(watch, tmp_path, prepare, cut)
    assert changes > 4
    for cut_at in range(changes):
        archive = ParquetArchive(tmp_path / str(cut_at), abandoned_s=-1)
        assert ids(archive) in (ids_of(calls[:1]), ids_of(calls[:3]))
        archive.append("churn", calls[1:2], "2-0")
        archive.sweep("churn")
        archive.append("churn", calls[2:], "3-0")
        assert ids(archive) == ids_of(calls)
        archive.sweep("churn")
        assert sum(pa.parquet.read_metadata(path).num_rows for path in data_files(tmp_path / str(cut_at))) == 12
        assert not list((tmp_path / str(cut_at)).rglob("*.new"))


def test_power_that_fails_anywhere_in_a_merge_changes_no_row(watch, tmp_path):
    calls = [call(number, size=1) for number in range(1, 4)]

    def prepare(folder: Path) -> None:
        for one in calls:
            ParquetArchive(folder).append("churn", [one], one.entry_id)

    def cut(folder: Path) -> None:
        ParquetArchive(folder).compact("churn", "2023-11-15")

    changes = cut_everywhere(watch, tmp_path, prepare, cut)
    for cut_at in range(changes):
        archive = ParquetArchive(tmp_path / str(cut_at), abandoned_s=-1)
        assert ids(archive) == ids_of(calls)
        archive.compact("churn", "2023-11-15")
        archive.sweep("churn")
        assert ids(archive) == ids_of(calls)
        assert len(data_files(tmp_path / str(cut_at))) == 1


def once(event: str, action: Callable[[], object]) -> Callable[[str], None]:
    """Takes the action before the first such change, and only then."""
    waiting = [action]

    def before(happening: str) -> None:
        if happening == event and waiting:
            waiting.pop()()

    return before


@pytest.mark.parametrize("event", ["open", "os.rename", "os.link"])
def test_of_two_writers_of_one_call_one_counts(watch, archive, tmp_path, event):
    """The other one archives a part of the calls while the first is at it."""
    other = ParquetArchive(tmp_path)
    with watch.over(tmp_path, once(event, lambda: other.append("churn", [call(2), call(4)], "1-0"))):
        assert archive.append("churn", [call(1), call(2), call(3)], "1-0") == 6
    assert ids(archive) == ids_of([call(1), call(2), call(3), call(4)])


def test_a_writer_whose_files_are_taken_for_stray_writes_them_again(watch, archive, tmp_path):
    hasty = ParquetArchive(tmp_path, abandoned_s=-1)
    with watch.over(tmp_path, once("os.link", lambda: hasty.sweep("churn"))):
        assert archive.append("churn", [call(1)], "1-0") == 3
    assert ids(archive) == ids_of([call(1)])


def test_a_writer_that_slept_through_many_changes_is_not_deceived_by_a_number_that_is_free_again(
    watch, archive, tmp_path
):
    other = ParquetArchive(tmp_path)

    def meanwhile() -> None:
        for number in range(10, 30):
            other.append("churn", [call(number, size=1)], "1-0")

    with watch.over(tmp_path, once("os.link", meanwhile)):
        assert archive.append("churn", [call(1)], "1-0") == 3
    assert ids(archive) == ids_of([call(1), *(call(number, size=1) for number in range(10, 30))])


def test_files_of_a_live_writer_are_left_alone(watch, archive, tmp_path):
    with watch.over(tmp_path, once("os.link", lambda: ParquetArchive(tmp_path).sweep("churn"))):
        archive.append("churn", [call(1)], "1-0")
    assert ids(archive) == ids_of([call(1)])
    assert '"floor": 0' in max((tmp_path / "churn" / "manifests").iterdir()).read_text()


def test_a_file_of_somebody_else_is_neither_read_nor_deleted(archive, tmp_path):
    archive.append("churn", [call(1)], "1-0")
    theirs = data_files(tmp_path)[0].with_name("notes.parquet")
    theirs.write_text("theirs")
    ParquetArchive(tmp_path, abandoned_s=-1).sweep("churn")
    assert theirs.exists()
    assert ids(archive) == ids_of([call(1)])


def test_a_crowded_day_becomes_few_files(archive, tmp_path):
    calls = [call(number, size=1) for number in range(1, 70)]
    for one in calls:
        archive.append("churn", [one], one.entry_id)
        archive.tidy("churn")
    assert len(data_files(tmp_path)) == 5
    assert ids(archive) == ids_of(calls)


def test_files_of_other_types_and_days_are_not_merged(archive, tmp_path):
    archive.append("churn", [call(1, x=[1, 2, 3])], "1-0")
    archive.append("churn", [call(2, x=["1", "2", "3"])], "2-0")
    archive.append("churn", [call(3, x=[1, 2, 3])], "3-0")
    assert archive.compact("churn", "2023-11-15") == 2
    assert len(data_files(tmp_path)) == 5
    assert len(archive.rows("churn", PREDICTIONS, float("-inf"), float("inf"))) == 2


def test_readers_find_every_row_while_files_are_merged(archive, tmp_path):
    calls = [call(number, size=1) for number in range(1, 20)]
    done = threading.Event()

    def write() -> None:
        writer = ParquetArchive(tmp_path)
        for one in calls:
            writer.append("churn", [one], one.entry_id)
            writer.compact("churn", "2023-11-15")
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    counts = [0]
    while not done.is_set():
        counts.append(len(ids(archive)))
    thread.join()
    assert counts == sorted(counts)
    assert ids(archive) == ids_of(calls)


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"", lambda data: data.replace(b"a", b"b")])
def test_a_damaged_file_is_named(archive, tmp_path, damage):
    archive.append("churn", [call(1)], "1-0")
    path = data_files(tmp_path)[0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Unavailable, match=str(path)):
        ids(archive)


def test_a_file_that_is_gone_is_named(archive, tmp_path):
    archive.append("churn", [call(1)], "1-0")
    path = data_files(tmp_path)[0]
    path.unlink()
    with pytest.raises(Unavailable, match=path.name):
        ids(archive)


def test_a_damaged_manifest_is_named(archive, tmp_path):
    archive.append("churn", [call(1)], "1-0")
    path = max((tmp_path / "churn" / "manifests").iterdir())
    path.write_text("{")
    with pytest.raises(Unavailable, match=str(path)):
        ids(archive)
    with pytest.raises(Unavailable, match=str(path)):
        archive.append("churn", [call(2)], "2-0")


def test_an_archive_that_was_deleted_starts_anew(archive, tmp_path):
    archive.append("churn", [call(1)], "1-0")
    (tmp_path / "churn").rename(tmp_path / f"gone-{secrets.token_hex(2)}")
    assert ids(archive) == []
    assert archive.append("churn", [call(2)], "2-0") == 3
    assert ids(archive) == ids_of([call(2)])


def test_files_of_a_day_that_is_not_asked_for_are_not_opened(archive, tmp_path):
    archive.append("churn", [call(1)], "1-0")
    os.truncate(data_files(tmp_path)[1], 0)
    first_day = archive.rows("churn", PREDICTIONS, NOON, NOON + 43_200)
    assert [table["id"].to_pylist() for table in first_day] == [["1a"]]


def test_power_that_fails_anywhere_in_an_erasure_loses_no_other_row(watch, tmp_path):
    calls = [call(number) for number in range(1, 4)]
    others = sorted(set(ids_of(calls)) - {"1a", "2b"})

    def prepare(folder: Path) -> None:
        for one in calls:
            ParquetArchive(folder).append("churn", [one], one.entry_id)

    def cut(folder: Path) -> None:
        assert ParquetArchive(folder).erase("churn", ["1a", "2b", "unknown"]) == {"predictions": 2}

    changes = cut_everywhere(watch, tmp_path, prepare, cut)
    assert changes > 4
    for cut_at in range(changes):
        archive = ParquetArchive(tmp_path / str(cut_at), abandoned_s=-1)
        assert ids(archive) in (ids_of(calls), others)
        archive.erase("churn", ["1a", "2b"])
        archive.sweep("churn")
        assert ids(archive) == others
        assert sum(pa.parquet.read_metadata(path).num_rows for path in data_files(tmp_path / str(cut_at))) == 7


def test_an_erasure_finds_rows_that_a_merge_moves_meanwhile(watch, archive, tmp_path):
    calls = [call(number, size=1) for number in range(1, 5)]
    for one in calls:
        archive.append("churn", [one], one.entry_id)
    other = ParquetArchive(tmp_path)
    with watch.over(tmp_path, once("os.link", lambda: other.compact("churn", "2023-11-15"))):
        assert archive.erase("churn", ["1a", "4a"]) == {"predictions": 2}
    assert ids(archive) == ["2a", "3a"]


def test_ids_are_erased_from_files_of_mixed_days_and_types(archive, tmp_path):
    calls = [call(number, size=1, **{f"x{number}": [1.0]}) for number in range(1, 101)]
    archive.append("churn", calls, "100-0")
    assert len(data_files(tmp_path)) < 80
    assert archive.erase("churn", ["1a", "50a", "100a"]) == {"predictions": 3}
    assert ids(archive) == sorted(set(ids_of(calls)) - {"1a", "50a", "100a"})


def test_a_file_is_pruned_once_its_newest_row_is_older_than_asked(archive, tmp_path):
    archive.append("churn", [call(1_000)], "1000-0")
    archive.append("churn", [call(5_000)], "5000-0")
    archive.compact("churn", "2023-11-15")
    assert archive.prune("churn", 5.0) == {"predictions": 2}  # of the 16th; those of the 15th share a file
    assert archive.prune("churn", 5.0) == {}
    assert ids(archive) == ["1000a", "5000a", "5000b", "5000c"]
    assert archive.prune("churn", 5.001) == {"predictions": 4}
    assert data_files(tmp_path) == []


def test_a_file_that_is_gone_is_named_by_an_erasure(archive, tmp_path):
    archive.append("churn", [call(1)], "1-0")
    data_files(tmp_path)[0].unlink()
    with pytest.raises(Unavailable, match="churn"):
        archive.erase("churn", ["1a"])
