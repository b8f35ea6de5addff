"""Parquet archive: recorded rows as Parquet files in a folder, each call exactly once.

`MODEL/predictions/day=2024-01-31/*.parquet` holds rows of that day (UTC), `MODEL/labels/day=...` labels that came on
that day, and `day=mixed` the rest of a commit that reaches over many days (see `partition`); earlier versions kept
labels by the day of their `time`. `MODEL/manifests/N.json` says which files count and which calls they hold. A data
file that the newest manifest does not name does not count. A change writes its files, then makes manifest N+1 under a
name that must not exist yet: of two writers one wins and the other looks again. So a process may be killed at any
point, and a call that comes twice, in any grouping and from any process, is recognised.

Files of a change that died are deleted without harm to a change that is only slow: file names carry the number of the
manifest that their change started from, a change that started below the `floor` of the newest manifest is refused, and
the floor is raised above stray files before they are deleted.
"""

import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from optagent.adapters.state.archive.durable_files import replace_file
from optagent.adapters.state.archive.files import (
    crowded_days,
    discard_files,
    group_files,
    map_threaded,
    merge_files,
    select_mergeable,
    select_small,
    start_number,
    stray_files,
    write_files,
)
from optagent.adapters.state.archive.manifest import (
    ArchivedCall,
    ArchiveManifest,
    DataFile,
    change_manifest,
    new_calls,
    newest_manifest,
)
from optagent.adapters.state.archive.partition import group_rows
from optagent.adapters.state.archive.removal import count_rows, drop_old_files, erase_ids, erase_matured, old_files
from optagent.adapters.state.archive.row_files import read_rows
from optagent.adapters.state.archive.row_types import checked_name, concat_by_types, microseconds
from optagent.errors import NotFound, Unavailable
from optagent.ports import RecordKind

_ABANDONED_S = 600.0
_READ_TRIES = 5


class ParquetArchive:
    """The archive of all models below a local folder, shared by every process that uses the folder.

    Raises Unavailable, naming the file, for what cannot be read or written.
    """

    def __init__(self, root: Path, abandoned_s: float = _ABANDONED_S) -> None:
        self._root, self._abandoned_s = root.absolute(), abandoned_s

    def check(self) -> None:
        with _raise_unavailable(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            probe = self._root / f".check-{secrets.token_hex(4)}"
            probe.touch()
            probe.unlink()

    def append(self, model_id: str, calls: Sequence[ArchivedCall], oldest: str) -> int:
        """Archives the calls that are not yet in the archive, and returns the number of their rows.

        `oldest` is an entry id before which, in the epochs of these calls, everything has been archived already.
        """
        folder = self._folder(model_id)
        with _raise_unavailable(folder):
            while new := new_calls(newest_manifest(folder), calls):
                start = newest_manifest(folder)
                files = write_files(folder, group_rows(new), start.number, (new[0].entry_id, new[-1].entry_id))

                def add(
                    now: ArchiveManifest, new: list[ArchivedCall] = new, files: list[DataFile] = files
                ) -> ArchiveManifest | None:
                    return now.with_calls(new, files, oldest) if len(new_calls(now, new)) == len(new) else None

                if change_manifest(folder, start.number, add):
                    if new_calls(newest_manifest(folder), new):
                        continue  # our manifest number had been used and cleared away before
                    return sum(call.rows.num_rows for call in new)
                discard_files(folder, files)
        return 0

    def rows(self, model_id: str, kind: RecordKind, start: float, end: float) -> list[pa.Table]:
        """The rows with `start` <= time < `end` (POSIX seconds), a table for each set of types."""
        folder, first, stop = self._folder(model_id), microseconds(start), microseconds(end)
        with _raise_unavailable(folder):
            for tries_left in reversed(range(_READ_TRIES)):
                wanted = [
                    file
                    for file in newest_manifest(folder).files
                    if file.path.startswith(f"{kind}/") and file.last >= first and file.first < stop
                ]
                try:
                    tables = map_threaded(lambda file: read_rows(folder, file, first, stop), wanted)
                except FileNotFoundError:
                    if not tries_left:
                        raise
                    continue  # merged into another file since the manifest was read
                return concat_by_types(typed for of_file in tables for typed in of_file)
        return []

    def latest_prediction_time(self, model_id: str, kind: RecordKind) -> float | None:
        folder = self._folder(model_id)
        with _raise_unavailable(folder):
            last = [file.last for file in newest_manifest(folder).files if file.path.startswith(f"{kind}/")]
        return max(last) / 1e6 if last else None

    def compact(self, model_id: str, day: str, kind: RecordKind | None = None) -> int:
        """Merges small files of a day (YYYY-MM-DD) with equal types; returns the number of files that were merged.

        A file is merged with the smaller ones once those have as many rows together, so that a row is written again
        only as often as its file doubles.
        """
        folder = self._folder(model_id)
        merged = 0
        with _raise_unavailable(folder):
            for same in group_files(newest_manifest(folder).files):
                file_kind, file_day = same[0].kind_and_day
                if file_day == day and kind in (None, file_kind) and len(selected := select_mergeable(same)) > 1:
                    merged += merge_files(folder, selected)
        return merged

    def tidy(self, model_id: str) -> None:
        """Merges the files of days that have many files of equal types, and small files where there are many.

        So the number of files, and with it the manifest that each commit writes anew, follows the number of days and
        rows, whatever types and times the rows have.
        """
        folder = self._folder(model_id)
        with _raise_unavailable(folder):
            crowded = crowded_days(newest_manifest(folder).files)
        for kind, day in sorted(crowded):
            self.compact(model_id, day, RecordKind(kind))
        with _raise_unavailable(folder):
            for small in select_small(newest_manifest(folder).files):
                merge_files(folder, small)

    def sweep(self, model_id: str) -> None:
        """Deletes the files of changes that died."""
        folder = self._folder(model_id)
        with _raise_unavailable(folder):
            stray = stray_files(folder, before=time.time() - self._abandoned_s)
            floor = 1 + max((start_number(path) for path in stray), default=-1)
            change_manifest(folder, None, lambda now: replace(now, floor=floor) if now.floor < floor else None)
            now = newest_manifest(folder)
            counted = {folder / file.path for file in now.files}
            for path in stray:
                if path not in counted and start_number(path) < now.floor:
                    path.unlink(missing_ok=True)

    def prune(self, model_id: str, before: float, dry_run: bool = False) -> Counter[str]:
        """Drops the rows that were recorded before that time (POSIX seconds); returns their number by kind.

        A file is dropped as a whole, once its newest row is older. So is data that could not be read.
        """
        folder = self._folder(model_id)
        with _raise_unavailable(folder):
            if dry_run:
                return count_rows(old_files(folder, before))
            for path in (folder / "unreadable").glob("*"):
                if path.stat().st_mtime < before:
                    path.unlink(missing_ok=True)
            return drop_old_files(folder, before)

    def prune_matured(self, model_id: str, before_day: str, dry_run: bool = False) -> int:
        """Drops the training rows of the days before that one (YYYY-MM-DD); returns their number."""
        count, folder = 0, self._folder(model_id) / "matured"
        with _raise_unavailable(folder):
            for path in folder.glob("day=*.parquet"):
                if path.stem.removeprefix("day=") < before_day:
                    count += pq.read_metadata(path).num_rows
                    if not dry_run:
                        path.unlink()
        return count

    def erase(self, model_id: str, ids: Sequence[str]) -> Counter[str]:
        """Removes the archived and the training rows of these ids; returns their number by kind."""
        folder, texts = self._folder(model_id), pa.array(ids, pa.large_string())
        with _raise_unavailable(folder):
            counts = erase_ids(folder, texts)
            counts["matured"] = sum(erase_matured(path, texts) for path in sorted((folder / "matured").glob("day=*")))
        return +counts

    def set_aside(self, model_id: str, name: str, data: bytes) -> Path:
        """Writes data that cannot be read into a file, for a person to look at; returns its path."""
        path = self._folder(model_id) / "unreadable" / checked_name(name, "entry")
        with _raise_unavailable(path):
            replace_file(path, data)
        return path

    def save_reference(self, model_id: str, version: str, reference: bytes) -> None:
        path = self._folder(model_id) / "reference" / checked_name(version, "version")
        with _raise_unavailable(path):
            replace_file(path, reference)

    def reference(self, model_id: str, version: str) -> bytes:
        path = self._folder(model_id) / "reference" / checked_name(version, "version")
        with _raise_unavailable(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                raise NotFound(f"{model_id} version {version}: no reference is kept") from None

    def drop_reference(self, model_id: str, version: str) -> None:
        path = self._folder(model_id) / "reference" / checked_name(version, "version")
        with _raise_unavailable(path):
            path.unlink(missing_ok=True)

    def save_matured(self, model_id: str, day: str, rows: pa.Table) -> None:
        path = self._folder(model_id) / "matured" / f"day={checked_name(day, 'day')}.parquet"
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        with _raise_unavailable(path):
            if not path.exists() or path.read_bytes() != data:
                replace_file(path, data)

    def matured(self, model_id: str, since: str = "") -> list[pa.Table]:
        folder = self._folder(model_id) / "matured"
        with _raise_unavailable(folder):
            paths = sorted(folder.glob("day=*.parquet"))
            return [pq.read_table(path, partitioning=None) for path in paths if path.stem.removeprefix("day=") >= since]

    def _folder(self, model_id: str) -> Path:
        return self._root / checked_name(model_id, "model_id")


@contextlib.contextmanager
def _raise_unavailable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise Unavailable(f"archive: {path} cannot be used: {error}") from None
