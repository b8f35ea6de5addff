"""Archive files: writes, merges and replaces the files of a model's archive, and finds those no manifest names."""

import contextlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from optagent.adapters.state.archive.durable_files import sync
from optagent.adapters.state.archive.manifest import ArchiveManifest, DataFile, change_manifest, newest_manifest
from optagent.adapters.state.archive.partition import MIXED, PACKED, FileGroup, pack_rare_types
from optagent.adapters.state.archive.row_files import read_rows, write_rows
from optagent.ports import RecordKind

Item = TypeVar("Item")
Result = TypeVar("Result")

_DATA_NAME = re.compile(r"\.?[\d-]+_[\d-]+\.(\d+)-[0-9a-f]+\.parquet")
_LARGE_ROWS = 1_000_000
_CROWDED, _CROWDED_PAST = 64, 4  # files: of a day to which rows are added every minute, and of one that is over
_SMALL_ROWS = 4096  # a file of a quiet day, or of a client that sends a new column in each call
_MOST_SMALL = 512  # of a kind: each costs a reader of all of them a millisecond
_MONTH_S = 30 * 86_400.0
_FEW = 9  # files that a merge may leave of a month: of eight types, and of the rest
_AT_ONCE = 1024  # files of one pass, which takes a second
_WRITERS = 8  # small files wait for the disk most of the time


def write_files(
    folder: Path, groups: Mapping[FileGroup, list[pa.Table]], start: int, ids: tuple[str, str]
) -> list[DataFile]:
    """Writes a file for each (kind, day, types); the files are on disk but in no manifest yet."""
    name = f"{ids[0]}_{ids[1]}.{start}-{{}}.parquet"

    def write(group: tuple[FileGroup, list[pa.Table]]) -> DataFile:
        (kind, day, types), tables = group
        return write_rows(folder, f"{kind}/day={day}/{name.format(secrets.token_hex(4))}", types, tables)

    files = map_threaded(write, list(groups.items()))
    for parent in {(folder / file.path).parent for file in files}:
        sync(parent)
    return files


def merge_files(folder: Path, selected: Sequence[DataFile]) -> int:
    """Merges files of equal kind; returns their number, 0 where another process was faster.

    The result is one file where all are of one day and of equal types, and otherwise a few files of mixed days.
    """
    start = newest_manifest(folder).number
    tables: dict[str, list[pa.Table]] = {}
    for file, typed in zip(selected, map_threaded(lambda file: read_rows(folder, file), selected), strict=True):
        for types, rows in typed:
            tables.setdefault(PACKED if file.types == PACKED else types, []).append(rows)
    kind, days = selected[0].kind_and_day[0], {file.kind_and_day[1] for file in selected}
    day = days.pop() if len(days) == len(tables) == 1 else MIXED
    groups = {(kind, day, types): same for types, same in pack_rare_types(tables).items()}
    files = write_files(folder, groups, start, name_range(selected))
    return len(selected) if replace_files(folder, selected, files, start) else 0


def replace_files(folder: Path, old: Sequence[DataFile], new: Sequence[DataFile], start: int) -> bool:
    """Puts written files in the place of others, in one step; False, with all as it was, where some of them are gone.

    `start` is the number of the manifest that the change started from.
    """
    gone = set(old)

    def swap(now: ArchiveManifest) -> ArchiveManifest | None:
        if not gone <= set(now.files):
            return None  # another process replaced some of them
        return replace(now, files=(*(file for file in now.files if file not in gone), *new))

    changed = change_manifest(folder, start, swap)
    if changed and not gone & set(now := newest_manifest(folder).files) and set(new) <= set(now):
        discard_files(folder, old)
        return True
    if not changed:
        discard_files(folder, new)
    return False


def name_range(files: Sequence[DataFile]) -> tuple[str, str]:
    """The first and the last entry id in the names of files."""
    names = sorted(Path(file.path).name.split(".")[0] for file in files)
    return names[0].split("_")[0], names[-1].split("_")[-1]


def select_mergeable(same: Sequence[DataFile]) -> list[DataFile]:
    """The smallest files, as far as each has no more rows than those before it together."""
    selected: list[DataFile] = []
    total = 0
    for file in sorted(same, key=lambda item: item.rows):
        if file.rows >= _LARGE_ROWS or (len(selected) > 1 and file.rows > total):
            break
        selected.append(file)
        total += file.rows
    return selected


def group_files(files: Sequence[DataFile]) -> list[list[DataFile]]:
    """The files in groups of equal kind, day and types."""
    groups: dict[tuple[tuple[str, str], str], list[DataFile]] = {}
    for file in files:
        groups.setdefault((file.kind_and_day, file.types), []).append(file)
    return list(groups.values())


def crowded_days(files: Sequence[DataFile]) -> set[tuple[str, str]]:
    """The kinds and days with more than 64 files of equal types; more than 4 on days that are over."""
    newest: dict[str, str] = {}
    for file in files:
        kind, day = file.kind_and_day
        newest[kind] = max(newest.get(kind, ""), "" if day == MIXED else day)
    return {
        (kind, day)
        for same in group_files(files)
        for kind, day in [same[0].kind_and_day]
        if len(same) > (_CROWDED if day in (newest[kind], MIXED) else _CROWDED_PAST)
    }


def select_small(files: Sequence[DataFile]) -> list[list[DataFile]]:
    """The small files of each kind that has more than 512 of them, in groups to be merged.

    Files of a group came within one month, so that a row does not outlive its time in a file of newer rows.
    """
    kinds: dict[str, list[DataFile]] = {}
    for file in files:
        if file.rows < _SMALL_ROWS:
            kinds.setdefault(file.kind_and_day[0], []).append(file)
    groups: dict[tuple[str, int], list[DataFile]] = {}
    for kind, small in kinds.items():
        for file in small if len(small) > _MOST_SMALL else ():
            groups.setdefault((kind, int(file.came_at // _MONTH_S)), []).append(file)
    by_size = [sorted(group, key=lambda file: file.rows)[:_AT_ONCE] for group in groups.values()]
    return [group for group in by_size if len(group) > _FEW]


def stray_files(folder: Path, before: float) -> list[Path]:
    """Files that the manifest does not name and that were last written `before` that time, including scratch files."""
    counted = {folder / file.path for file in newest_manifest(folder).files}
    ours = [path for kind in RecordKind for path in folder.glob(f"{kind}/day=*/*") if _DATA_NAME.fullmatch(path.name)]
    stray = []
    for path in (*ours, *folder.glob("*/.*.new")):
        with contextlib.suppress(FileNotFoundError):
            if path not in counted and path.stat().st_mtime < before:
                stray.append(path)
    return stray


def start_number(path: Path) -> int:
    """The number of the manifest that a file's change started from; -1, below every floor, for other scratch files."""
    match = _DATA_NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def discard_files(folder: Path, files: Sequence[DataFile]) -> None:
    for file in files:
        (folder / file.path).unlink(missing_ok=True)


def map_threaded(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results of `function` for the items, in order, computed in several threads."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(_WRITERS, len(items))) as pool:
        return list(pool.map(function, items))
