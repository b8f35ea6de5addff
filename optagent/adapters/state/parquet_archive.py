"""Recorded rows as Parquet files in a folder, each call exactly once.

`MODEL/predictions/day=2024-01-31/*.parquet` and `MODEL/labels/day=...` hold rows by the day (UTC) of their `time`;
`MODEL/manifests/N.json` says which files count and which calls they hold. A data file that the newest manifest does not
name does not count. A change writes its files, then makes manifest N+1 under a name that must not exist yet: of two
writers one wins and the other looks again. So a process may be killed anywhere, and a call that comes twice, in
whatever grouping and from whatever process, is recognised.

Files of a change that died are deleted without harm to one that is only slow: file names carry the number of the
manifest that their change started from, a change that started below the `floor` of the newest manifest is refused, and
whoever deletes stray files raises the floor above them first.
"""

import contextlib
import itertools
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from optagent.errors import InvalidData, InvalidRequest, NotFound, Unavailable
from optagent.ports import Recorded
from optagent.training.columns import Kind, kind_of

Item = TypeVar("Item")
Result = TypeVar("Result")

_NOUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_DATA_NAME = re.compile(r"\.?[\d-]+_[\d-]+\.(\d+)-[0-9a-f]+\.parquet")
_KEPT_MANIFESTS = 16
_CROWDED = 64
_LARGE_ROWS = 1_000_000
_ABANDONED_S = 600.0
_READ_TRIES = 5
_DAY_US = 86_400_000_000
_THREADS_ROWS = 100_000
_WRITERS = 8  # small files wait for the disk most of the time


@dataclass(frozen=True, slots=True)
class Call:
    """A recorded call, or a part of one, under a name that is its own: `entry_id` MS-SEQ within `epoch`."""

    epoch: str
    entry_id: str
    kind: Recorded
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file below the model's folder. `types` stands for its columns, `first` and `last` are times in microseconds."""

    path: str
    types: str
    rows: int
    first: int
    last: int

    @property
    def kind_and_day(self) -> tuple[str, str]:
        kind, day, _ = self.path.split("/")
        return kind, day.removeprefix("day=")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What counts. By epoch: every call before `below` is archived, and those in `held`."""

    number: int = 0
    floor: int = 0
    below: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: tuple[DataFile, ...] = ()

    def holds(self, call: Call) -> bool:
        return call.entry_id in self.held.get(call.epoch, ()) or (
            call.epoch in self.below and _position(call.entry_id) < _position(self.below[call.epoch])
        )

    def with_calls(self, calls: Sequence[Call], files: Sequence[DataFile], oldest: str) -> "Manifest":
        """Also those calls; forgets the ids of all before `oldest`, which never come again but late."""
        below, held = dict(self.below), dict(self.held)
        for epoch in {call.epoch for call in calls}:
            below[epoch] = max(oldest, below.get(epoch, "0-0"), key=_position)
            ids = {*held.get(epoch, ()), *(call.entry_id for call in calls if call.epoch == epoch)}
            held[epoch] = tuple(sorted(item for item in ids if _position(item) >= _position(below[epoch])))
        return replace(self, below=below, held=held, files=(*self.files, *files))

    def encoded(self) -> bytes:
        files = [[file.path, file.types, file.rows, file.first, file.last] for file in self.files]
        return json.dumps({"floor": self.floor, "below": self.below, "held": self.held, "files": files}).encode()


def as_kept(rows: pa.Table) -> pa.Table:
    """The rows in types that come back from a file as they were; InvalidData for those that cannot be kept."""
    names = rows.schema.names
    if len(set(names)) < len(names) or not {"id", "time"} <= set(names):
        raise InvalidData(f"rows: columns id and time are needed, and no name twice, got {names[:50]}")
    try:
        table = pa.table({name: _as_kept(name, rows[name]) for name in names})
    except pa.ArrowInvalid as error:
        raise InvalidData(f"rows: {error}") from None
    for name in ("id", "time"):
        if table[name].null_count:
            raise InvalidData(f"column {name!r}: {table[name].null_count} rows without a value")
    return table


def _as_kept(name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = kind_of(values.type)
    if kind is None:
        raise InvalidData(f"column {name!r}: type {values.type} cannot be kept")
    if pt.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if name == "time":
        if not pt.is_timestamp(values.type):
            raise InvalidData(f"column 'time': a timestamp is needed, got {values.type}")
        return values.cast(pa.timestamp("us", "UTC"), safe=values.type.unit != "ns")
    if name == "id" and not (kind is Kind.CATEGORICAL or pt.is_integer(values.type)):
        raise InvalidData(f"column 'id': a text is needed, got {values.type}")
    if kind is Kind.CATEGORICAL or name == "id":
        return values.cast(pa.large_string())
    if pt.is_timestamp(values.type) and values.type.unit == "s":
        return values.cast(pa.timestamp("ms", values.type.tz))
    if pt.is_date64(values.type):
        return values.cast(pa.date32())
    return values.cast(pa.time32("ms")) if values.type == pa.time32("s") else values


class ParquetArchive:
    """The archive of all models below a local folder, shared by every process that uses the folder.

    Raises Unavailable, naming the file, for what cannot be read or written.
    """

    def __init__(self, root: Path, abandoned_s: float = _ABANDONED_S) -> None:
        self._root, self._abandoned_s = root.absolute(), abandoned_s

    def check(self) -> None:
        with _naming(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            probe = self._root / f".check-{secrets.token_hex(4)}"
            probe.touch()
            probe.unlink()

    def append(self, model_id: str, calls: Sequence[Call], oldest: str) -> int:
        """Archives the calls that are not yet in the archive, and answers how many rows that were.

        `oldest` is an entry id before which, in the epochs of these calls, everything has been archived already.
        """
        folder = self._folder(model_id)
        with _naming(folder):
            while new := _not_held(_newest(folder), calls):
                start = _newest(folder)
                files = _written(folder, _by_day_and_types(new), start.number, (new[0].entry_id, new[-1].entry_id))

                def add(now: Manifest, new: list[Call] = new, files: list[DataFile] = files) -> Manifest | None:
                    return now.with_calls(new, files, oldest) if len(_not_held(now, new)) == len(new) else None

                if _change(folder, start.number, add):
                    if _not_held(_newest(folder), new):  # the number that we took had been used and cleared away before
                        continue
                    return sum(call.rows.num_rows for call in new)
                _discard(folder, files)
        return 0

    def rows(self, model_id: str, kind: Recorded, start: float, end: float) -> list[pa.Table]:
        """The rows with `start` <= time < `end` (POSIX seconds), a table for each set of types."""
        folder, first, stop = self._folder(model_id), microseconds(start), microseconds(end)
        with _naming(folder):
            for left in reversed(range(_READ_TRIES)):
                wanted = [
                    file
                    for file in _newest(folder).files
                    if file.path.startswith(f"{kind}/") and file.last >= first and file.first < stop
                ]
                try:
                    tables = _mapped(lambda file: _read(folder, file, first, stop), wanted)
                except FileNotFoundError:
                    if not left:
                        raise
                    continue  # merged into another file since the manifest was read
                return joined(zip((file.types for file in wanted), tables, strict=True))
        return []

    def newest(self, model_id: str, kind: Recorded) -> float | None:
        folder = self._folder(model_id)
        with _naming(folder):
            last = [file.last for file in _newest(folder).files if file.path.startswith(f"{kind}/")]
        return max(last) / 1e6 if last else None

    def compact(self, model_id: str, day: str, kind: Recorded | None = None) -> int:
        """Merges small files of a day (YYYY-MM-DD), those with equal types; answers how many files went into others.

        A file is merged with the smaller ones once those have as many rows together, so that a row is written again as
        often as its file doubles.
        """
        folder = self._folder(model_id)
        merged = 0
        with _naming(folder):
            for same in _alike(_newest(folder).files):
                of, when = same[0].kind_and_day
                if when == day and kind in (None, of) and len(chosen := _worth_merging(same)) > 1:
                    merged += _merge(folder, chosen)
        return merged

    def tidy(self, model_id: str) -> None:
        """Merges the files of crowded days, and deletes what was written and never counted."""
        folder = self._folder(model_id)
        with _naming(folder):
            crowded = {same[0].kind_and_day for same in _alike(_newest(folder).files) if len(same) > _CROWDED}
        for kind, day in sorted(crowded):
            self.compact(model_id, day, Recorded(kind))

    def sweep(self, model_id: str) -> None:
        """Deletes files of changes that died."""
        folder = self._folder(model_id)
        with _naming(folder):
            stray = _stray(folder, before=time.time() - self._abandoned_s)
            floor = 1 + max((_start(path) for path in stray), default=-1)
            _change(folder, None, lambda now: replace(now, floor=floor) if now.floor < floor else None)
            now = _newest(folder)
            named = {folder / file.path for file in now.files}
            for path in stray:
                if path not in named and _start(path) < now.floor:
                    path.unlink(missing_ok=True)

    def set_aside(self, model_id: str, name: str, data: bytes) -> Path:
        """Keeps what cannot be read, for a person to look at."""
        path = self._folder(model_id) / "unreadable" / noun(name, "entry")
        with _naming(path):
            _replace(path, data)
        return path

    def save_reference(self, model_id: str, version: str, reference: bytes) -> None:
        path = self._folder(model_id) / "reference" / noun(version, "version")
        with _naming(path):
            _replace(path, reference)

    def reference(self, model_id: str, version: str) -> bytes:
        path = self._folder(model_id) / "reference" / noun(version, "version")
        with _naming(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                raise NotFound(f"{model_id} version {version}: no reference is kept") from None

    def _folder(self, model_id: str) -> Path:
        return self._root / noun(model_id, "model_id")


def _newest(folder: Path) -> Manifest:
    while True:
        numbers = _numbers(folder)
        if not numbers:
            return Manifest()
        path = _manifest(folder, max(numbers))
        with contextlib.suppress(FileNotFoundError):  # cleared away since it was listed
            written = path.stat()
            return _decoded(path, max(numbers), (written.st_ino, written.st_mtime_ns))


@lru_cache(maxsize=32)
def _decoded(path: Path, number: int, written: tuple[int, int]) -> Manifest:
    """A manifest never changes; `written` tells it from one of the same number in a folder that was made anew."""
    try:
        of = json.loads(path.read_bytes())
        files = tuple(DataFile(*item) for item in of["files"])
        held = {epoch: tuple(ids) for epoch, ids in of["held"].items()}
        return Manifest(number, of["floor"], of["below"], held, files)
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"archive: {path} is not a manifest: {error}") from None


def _change(folder: Path, start: int | None, change: Callable[[Manifest], Manifest | None]) -> bool:
    """Makes the manifest after the newest one, again and again until it is the first to; False where there is none.

    A change whose files carry the number `start` is refused below the floor.
    """
    while True:
        now = _newest(folder)
        after = None if start is not None and start < now.floor else change(now)
        if after is None:
            return False
        if _made(_manifest(folder, now.number + 1), after.encoded()):
            break
    for number in sorted(_numbers(folder))[:-_KEPT_MANIFESTS]:
        _manifest(folder, number).unlink(missing_ok=True)
    return True


def _made(path: Path, data: bytes) -> bool:
    """Whether the file was made, whole and on disk; False where there is one of that name, or its scratch was swept."""
    _make(path.parent)
    scratch = path.with_name(f".{secrets.token_hex(8)}.new")
    try:
        _write(scratch, data)
        os.link(scratch, path)
    except (FileExistsError, FileNotFoundError):
        return False
    finally:
        scratch.unlink(missing_ok=True)
    _sync(path.parent)
    return True


def _written(
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

    files = _mapped(write, list(groups.items()))
    for parent in {(folder / file.path).parent for file in files}:
        _sync(parent)
    return files


def _write_parquet(path: Path, rows: pa.Table) -> None:
    _make(path.parent)
    scratch = path.with_name(f".{path.name}")
    texts = [item.name for item in rows.schema if pa.types.is_large_string(item.type) and item.name != "id"]
    try:
        pq.write_table(
            rows, scratch, compression="zstd", use_dictionary=texts or False, write_statistics=["time"],
            write_page_checksum=True,
        )  # fmt: skip
        _sync(scratch)
        scratch.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def _read(folder: Path, file: DataFile, first: int = -(2**63), stop: int = 2**63 - 1) -> pa.Table:
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


def _merge(folder: Path, chosen: Sequence[DataFile]) -> int:
    start = _newest(folder).number
    kind, day = chosen[0].kind_and_day
    rows = _mapped(lambda file: _read(folder, file), chosen)
    names = sorted(Path(file.path).name.split(".")[0] for file in chosen)
    ids = (names[0].split("_")[0], names[-1].split("_")[-1])
    files = _written(folder, {(kind, day, chosen[0].types): _columns_alike(rows)}, start, ids)
    gone = set(chosen)

    def swap(now: Manifest) -> Manifest | None:
        if not gone <= set(now.files):
            return None  # somebody else merged some of them
        return replace(now, files=(*(file for file in now.files if file not in gone), *files))

    changed = _change(folder, start, swap)
    if changed and set(files) <= set(_newest(folder).files):
        _discard(folder, chosen)
        return len(chosen)
    if not changed:
        _discard(folder, files)
    return 0


def _worth_merging(same: Sequence[DataFile]) -> list[DataFile]:
    chosen: list[DataFile] = []
    total = 0
    for file in sorted(same, key=lambda item: item.rows):
        if file.rows >= _LARGE_ROWS or (len(chosen) > 1 and file.rows > total):
            break
        chosen.append(file)
        total += file.rows
    return chosen


def _alike(files: Sequence[DataFile]) -> list[list[DataFile]]:
    """Files by kind, day and types."""
    groups: dict[tuple[tuple[str, str], str], list[DataFile]] = {}
    for file in files:
        groups.setdefault((file.kind_and_day, file.types), []).append(file)
    return list(groups.values())


def _not_held(now: Manifest, calls: Sequence[Call]) -> list[Call]:
    return [call for call in calls if not now.holds(call)]


def _by_day_and_types(calls: Sequence[Call]) -> dict[tuple[str, str, str], list[pa.Table]]:
    together: dict[tuple[str, str], list[pa.Table]] = {}
    for call in calls:
        together.setdefault((str(call.kind), types_of(call.rows)), []).append(call.rows)
    groups: dict[tuple[str, str, str], list[pa.Table]] = {}
    for (kind, types), tables in together.items():
        for day, rows in _by_day(pa.concat_tables(_columns_alike(tables))):
            groups[kind, day, types] = [rows]
    return groups


def _by_day(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    days = np.floor_divide(rows["time"].cast(pa.int64()).to_numpy(), _DAY_US)
    if len(days) and days.min() == days.max():
        yield str(days[0].astype("datetime64[D]")), rows
        return
    order = np.argsort(days, kind="stable")
    rows, days = rows.take(order), days[order]
    edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
    for start, end in itertools.pairwise(edges):
        if end > start:
            yield str(days[start].astype("datetime64[D]")), rows.slice(start, end - start)


def joined(tables: Iterable[tuple[str, pa.Table]]) -> list[pa.Table]:
    groups: dict[str, list[pa.Table]] = {}
    for types, rows in tables:
        if rows.num_rows:
            groups.setdefault(types, []).append(rows)
    return [pa.concat_tables(_columns_alike(group)) for group in groups.values()]


def _columns_alike(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The columns of all in the order of the first."""
    names = tables[0].schema.names
    return [table if table.schema.names == names else table.select(names) for table in tables]


def types_of(rows: pa.Table) -> str:
    """The same text for tables with the same columns of the same types, in whatever order."""
    listed = sorted((item.name, str(item.type)) for item in rows.schema)
    return sha256(json.dumps(listed).encode()).hexdigest()[:12]


def _stray(folder: Path, before: float) -> list[Path]:
    """Files that no manifest names and that were last written `before` that time, scratch files included."""
    named = {folder / file.path for file in _newest(folder).files}
    ours = [path for kind in Recorded for path in folder.glob(f"{kind}/day=*/*") if _DATA_NAME.fullmatch(path.name)]
    found = []
    for path in (*ours, *folder.glob("*/.*.new")):
        with contextlib.suppress(FileNotFoundError):
            if path not in named and path.stat().st_mtime < before:
                found.append(path)
    return found


def _start(path: Path) -> int:
    """The number of the manifest that a file's change started from; below every floor for scratch files of others."""
    found = _DATA_NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def _discard(folder: Path, files: Sequence[DataFile]) -> None:
    for file in files:
        (folder / file.path).unlink(missing_ok=True)


def _replace(path: Path, data: bytes) -> None:
    _make(path.parent)
    scratch = path.with_name(f".{secrets.token_hex(8)}.new")
    try:
        _write(scratch, data)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    _sync(path.parent)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make(folder: Path) -> None:
    """The folder and its parents, on disk."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mapped(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(_WRITERS, len(items))) as pool:
        return list(pool.map(function, items))


def _numbers(folder: Path) -> list[int]:
    try:
        names = os.listdir(folder / "manifests")
    except FileNotFoundError:
        return []
    return [int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit()]


def _manifest(folder: Path, number: int) -> Path:
    return folder / "manifests" / f"{number:012d}.json"


def _position(entry_id: str) -> tuple[int, int]:
    milliseconds, sequence = entry_id.split("-")
    return int(milliseconds), int(sequence)


def microseconds(instant: float) -> int:
    if instant != instant:
        raise InvalidRequest(f"an instant must be a number of POSIX seconds, got {instant!r}")
    return int(max(-(2.0**62), min(2.0**62, np.ceil(instant * 1e6))))


def noun(name: str, what: str) -> str:
    if not _NOUN.fullmatch(name):
        raise InvalidRequest(f"{what} {name!r}: letters, digits, '_', '.', '-', the first a letter or digit")
    return name


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise Unavailable(f"archive: {path} cannot be used: {error}") from None
