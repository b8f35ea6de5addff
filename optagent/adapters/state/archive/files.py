"""Archive files: writes, reads and merges the Parquet files of a model's archive, and finds those no manifest names."""

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
from optagent.adapters.state.archive.row_types import align_columns, split_days, types_of
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
    """Writes a file for each (kind, day, types); the files are on disk but in no manifest yet."""
    name = f"{ids[0]}_{ids[1]}.{start}-{{}}.parquet"

    def write(group: tuple[tuple[str, str, str], list[pa.Table]]) -> DataFile:
        (kind, day, types), tables = group
        path = f"{kind}/day={day}/{name.format(secrets.token_hex(4))}"
        rows = pa.concat_tables(tables)
        _write_parquet(folder / path, rows)
        times = pc.min_max(rows["time"].cast(pa.int64())).as_py()
        return DataFile(path, types, rows.num_rows, times["min"], times["max"])

    files = map_threaded(write, list(groups.items()))
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


def merge_files(folder: Path, selected: Sequence[DataFile]) -> int:
    """Merges files of a day with equal types into one; returns their number, 0 where another process was faster."""
    start = newest_manifest(folder).number
    kind, day = selected[0].kind_and_day
    rows = map_threaded(lambda file: read_file(folder, file), selected)
    names = sorted(Path(file.path).name.split(".")[0] for file in selected)
    ids = (names[0].split("_")[0], names[-1].split("_")[-1])
    files = write_files(folder, {(kind, day, selected[0].types): align_columns(rows)}, start, ids)
    merged = set(selected)

    def swap(now: ArchiveManifest) -> ArchiveManifest | None:
        if not merged <= set(now.files):
            return None  # another process merged some of them
        return replace(now, files=(*(file for file in now.files if file not in merged), *files))

    changed = change_manifest(folder, start, swap)
    if changed and set(files) <= set(newest_manifest(folder).files):
        discard_files(folder, selected)
        return len(selected)
    if not changed:
        discard_files(folder, files)
    return 0


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


def group_rows(calls: Sequence[ArchivedCall]) -> dict[tuple[str, str, str], list[pa.Table]]:
    """The rows of calls by (kind, day, types), in the form that `write_files` takes."""
    together: dict[tuple[str, str], list[pa.Table]] = {}
    for call in calls:
        together.setdefault((str(call.kind), types_of(call.rows)), []).append(call.rows)
    groups: dict[tuple[str, str, str], list[pa.Table]] = {}
    for (kind, types), tables in together.items():
        for day, rows in split_days(pa.concat_tables(align_columns(tables))):
            groups[kind, day, types] = [rows]
    return groups


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
