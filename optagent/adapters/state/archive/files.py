"""The Parquet files of a model's archive: how they are written, read, merged and found where nothing names them."""

import contextlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from optagent.adapters.state.archive.durable_files import make_folder, sync
from optagent.adapters.state.archive.manifest import (
    ArchivedCall,
    ArchiveManifest,
    DataFile,
    change_manifest,
    newest_manifest,
)
from optagent.adapters.state.archive.row_types import by_day, columns_alike, types_of
from optagent.errors import Unavailable
from optagent.ports import RecordKind

Item = TypeVar("Item")
Result = TypeVar("Result")

_DATA_NAME = re.compile(r"\.?[\d-]+_[\d-]+\.(\d+)-[0-9a-f]+\.parquet")
_LARGE_ROWS = 1_000_000
_THREADS_ROWS = 100_000
_WRITERS = 8  # small files wait for the disk most of the time


def write_files(
    folder: Path, groups: Mapping[tuple[str, str, str], list[pa.Table]], start: int, ids: tuple[str, str]
) -> list[DataFile]:
    """A file for each (kind, day, types), on disk but in no manifest."""
    name = f"{ids[0]}_{ids[1]}.{start}-{{}}.parquet"

    def write(group: tuple[tuple[str, str, str], list[pa.Table]]) -> DataFile:
        (kind, day, types), tables = group
        path = f"{kind}/day={day}/{name.format(secrets.token_hex(4))}"
        rows = pa.concat_tables(tables)
        _write_parquet(folder / path, rows)
        times = pc.min_max(rows["time"].cast(pa.int64())).as_py()
        return DataFile(path, types, rows.num_rows, times["min"], times["max"])

    files = mapped(write, list(groups.items()))
    for parent in {(folder / file.path).parent for file in files}:
        sync(parent)
    return files


def _write_parquet(path: Path, rows: pa.Table) -> None:
    make_folder(path.parent)
    scratch = path.with_name(f".{path.name}")
    texts = [item.name for item in rows.schema if pa.types.is_large_string(item.type) and item.name != "id"]
    try:
        pq.write_table(
            rows, scratch, compression="zstd", use_dictionary=texts or False, write_statistics=["time"],
            write_page_checksum=True,
        )  # fmt: skip
        sync(scratch)
        scratch.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def read_file(folder: Path, file: DataFile, first: int = -(2**63), stop: int = 2**63 - 1) -> pa.Table:
    """The rows with `first` <= time < `stop` (microseconds); FileNotFoundError where the file has been merged away."""
    path = folder / file.path
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            rows = opened.read(use_threads=file.rows > _THREADS_ROWS)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError) as error:
        raise Unavailable(f"archive: {path} cannot be read: {error}") from None
    if rows.num_rows != file.rows:
        raise Unavailable(f"archive: {path} cannot be read: it has {rows.num_rows} rows instead of {file.rows}")
    if first <= file.first and file.last < stop:
        return rows
    times = rows["time"].cast(pa.int64())
    return rows.filter(pc.and_(pc.greater_equal(times, first), pc.less(times, stop)))


def merge_files(folder: Path, chosen: Sequence[DataFile]) -> int:
    """Makes one file of files of a day with equal types; answers how many, 0 where somebody else was sooner."""
    start = newest_manifest(folder).number
    kind, day = chosen[0].kind_and_day
    rows = mapped(lambda file: read_file(folder, file), chosen)
    names = sorted(Path(file.path).name.split(".")[0] for file in chosen)
    ids = (names[0].split("_")[0], names[-1].split("_")[-1])
    files = write_files(folder, {(kind, day, chosen[0].types): columns_alike(rows)}, start, ids)
    gone = set(chosen)

    def swap(now: ArchiveManifest) -> ArchiveManifest | None:
        if not gone <= set(now.files):
            return None  # somebody else merged some of them
        return replace(now, files=(*(file for file in now.files if file not in gone), *files))

    changed = change_manifest(folder, start, swap)
    if changed and set(files) <= set(newest_manifest(folder).files):
        discard_files(folder, chosen)
        return len(chosen)
    if not changed:
        discard_files(folder, files)
    return 0


def worth_merging(same: Sequence[DataFile]) -> list[DataFile]:
    """The smaller files, each with no more rows than those before it have together."""
    chosen: list[DataFile] = []
    total = 0
    for file in sorted(same, key=lambda item: item.rows):
        if file.rows >= _LARGE_ROWS or (len(chosen) > 1 and file.rows > total):
            break
        chosen.append(file)
        total += file.rows
    return chosen


def alike_files(files: Sequence[DataFile]) -> list[list[DataFile]]:
    """Files by kind, day and types."""
    groups: dict[tuple[tuple[str, str], str], list[DataFile]] = {}
    for file in files:
        groups.setdefault((file.kind_and_day, file.types), []).append(file)
    return list(groups.values())


def by_day_and_types(calls: Sequence[ArchivedCall]) -> dict[tuple[str, str, str], list[pa.Table]]:
    """The rows of calls by (kind, day, types), as `write_files` takes them."""
    together: dict[tuple[str, str], list[pa.Table]] = {}
    for call in calls:
        together.setdefault((str(call.kind), types_of(call.rows)), []).append(call.rows)
    groups: dict[tuple[str, str, str], list[pa.Table]] = {}
    for (kind, types), tables in together.items():
        for day, rows in by_day(pa.concat_tables(columns_alike(tables))):
            groups[kind, day, types] = [rows]
    return groups


def stray_files(folder: Path, before: float) -> list[Path]:
    """Files that no manifest names and that were last written `before` that time, scratch files included."""
    named = {folder / file.path for file in newest_manifest(folder).files}
    ours = [path for kind in RecordKind for path in folder.glob(f"{kind}/day=*/*") if _DATA_NAME.fullmatch(path.name)]
    found = []
    for path in (*ours, *folder.glob("*/.*.new")):
        with contextlib.suppress(FileNotFoundError):
            if path not in named and path.stat().st_mtime < before:
                found.append(path)
    return found


def started_from(path: Path) -> int:
    """The number of the manifest that a file's change started from; below every floor for scratch files of others."""
    found = _DATA_NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def discard_files(folder: Path, files: Sequence[DataFile]) -> None:
    for file in files:
        (folder / file.path).unlink(missing_ok=True)


def mapped(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """As map does, several at once."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(_WRITERS, len(items))) as pool:
        return list(pool.map(function, items))
