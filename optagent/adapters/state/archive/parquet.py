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
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from optagent.adapters.state.archive.durable_files import replace_file
from optagent.adapters.state.archive.files import (
    alike_files,
    by_day_and_types,
    discard_files,
    mapped,
    merge_files,
    read_file,
    started_from,
    stray_files,
    worth_merging,
    write_files,
)
from optagent.adapters.state.archive.manifest import (
    ArchivedCall,
    ArchiveManifest,
    DataFile,
    change_manifest,
    newest_manifest,
    not_held,
)
from optagent.adapters.state.archive.row_types import joined, microseconds, noun
from optagent.errors import NotFound, Unavailable
from optagent.ports import RecordKind

_CROWDED = 64
_ABANDONED_S = 600.0
_READ_TRIES = 5


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

    def append(self, model_id: str, calls: Sequence[ArchivedCall], oldest: str) -> int:
        """Archives the calls that are not yet in the archive, and answers how many rows that were.

        `oldest` is an entry id before which, in the epochs of these calls, everything has been archived already.
        """
        folder = self._folder(model_id)
        with _naming(folder):
            while new := not_held(newest_manifest(folder), calls):
                start = newest_manifest(folder)
                files = write_files(folder, by_day_and_types(new), start.number, (new[0].entry_id, new[-1].entry_id))

                def add(
                    now: ArchiveManifest, new: list[ArchivedCall] = new, files: list[DataFile] = files
                ) -> ArchiveManifest | None:
                    return now.with_calls(new, files, oldest) if len(not_held(now, new)) == len(new) else None

                if change_manifest(folder, start.number, add):
                    if not_held(newest_manifest(folder), new):
                        continue  # the number that we took had been used and cleared away before
                    return sum(call.rows.num_rows for call in new)
                discard_files(folder, files)
        return 0

    def rows(self, model_id: str, kind: RecordKind, start: float, end: float) -> list[pa.Table]:
        """The rows with `start` <= time < `end` (POSIX seconds), a table for each set of types."""
        folder, first, stop = self._folder(model_id), microseconds(start), microseconds(end)
        with _naming(folder):
            for left in reversed(range(_READ_TRIES)):
                wanted = [
                    file
                    for file in newest_manifest(folder).files
                    if file.path.startswith(f"{kind}/") and file.last >= first and file.first < stop
                ]
                try:
                    tables = mapped(lambda file: read_file(folder, file, first, stop), wanted)
                except FileNotFoundError:
                    if not left:
                        raise
                    continue  # merged into another file since the manifest was read
                return joined(zip((file.types for file in wanted), tables, strict=True))
        return []

    def latest_prediction_time(self, model_id: str, kind: RecordKind) -> float | None:
        folder = self._folder(model_id)
        with _naming(folder):
            last = [file.last for file in newest_manifest(folder).files if file.path.startswith(f"{kind}/")]
        return max(last) / 1e6 if last else None

    def compact(self, model_id: str, day: str, kind: RecordKind | None = None) -> int:
        """Merges small files of a day (YYYY-MM-DD), those with equal types; answers how many files went into others.

        A file is merged with the smaller ones once those have as many rows together, so that a row is written again as
        often as its file doubles.
        """
        folder = self._folder(model_id)
        merged = 0
        with _naming(folder):
            for same in alike_files(newest_manifest(folder).files):
                of, when = same[0].kind_and_day
                if when == day and kind in (None, of) and len(chosen := worth_merging(same)) > 1:
                    merged += merge_files(folder, chosen)
        return merged

    def tidy(self, model_id: str) -> None:
        """Merges the files of crowded days, and deletes what was written and never counted."""
        folder = self._folder(model_id)
        with _naming(folder):
            groups = alike_files(newest_manifest(folder).files)
        crowded = {same[0].kind_and_day for same in groups if len(same) > _CROWDED}
        for kind, day in sorted(crowded):
            self.compact(model_id, day, RecordKind(kind))

    def sweep(self, model_id: str) -> None:
        """Deletes files of changes that died."""
        folder = self._folder(model_id)
        with _naming(folder):
            stray = stray_files(folder, before=time.time() - self._abandoned_s)
            floor = 1 + max((started_from(path) for path in stray), default=-1)
            change_manifest(folder, None, lambda now: replace(now, floor=floor) if now.floor < floor else None)
            now = newest_manifest(folder)
            named = {folder / file.path for file in now.files}
            for path in stray:
                if path not in named and started_from(path) < now.floor:
                    path.unlink(missing_ok=True)

    def set_aside(self, model_id: str, name: str, data: bytes) -> Path:
        """Keeps what cannot be read, for a person to look at."""
        path = self._folder(model_id) / "unreadable" / noun(name, "entry")
        with _naming(path):
            replace_file(path, data)
        return path

    def save_reference(self, model_id: str, version: str, reference: bytes) -> None:
        path = self._folder(model_id) / "reference" / noun(version, "version")
        with _naming(path):
            replace_file(path, reference)

    def reference(self, model_id: str, version: str) -> bytes:
        path = self._folder(model_id) / "reference" / noun(version, "version")
        with _naming(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                raise NotFound(f"{model_id} version {version}: no reference is kept") from None

    def save_matured(self, model_id: str, day: str, rows: pa.Table) -> None:
        path = self._folder(model_id) / "matured" / f"day={noun(day, 'day')}.parquet"
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        with _naming(path):
            if not path.exists() or path.read_bytes() != data:
                replace_file(path, data)

    def matured(self, model_id: str, since: str = "") -> list[pa.Table]:
        folder = self._folder(model_id) / "matured"
        with _naming(folder):
            paths = sorted(folder.glob("day=*.parquet"))
            return [pq.read_table(path, partitioning=None) for path in paths if path.stem.removeprefix("day=") >= since]

    def _folder(self, model_id: str) -> Path:
        return self._root / noun(model_id, "model_id")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise Unavailable(f"archive: {path} cannot be used: {error}") from None
