"""Archive manifest: the numbered list of the files and calls that count in a model's archive; the newest one holds.

A manifest never changes. The next one is made under a name that must not exist yet: of two writers one wins and the
other looks again.
"""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from optagent.adapters.state.archive.durable_files import create_file
from optagent.errors import Unavailable
from optagent.ports import RecordKind

_KEPT_MANIFESTS = 16


@dataclass(frozen=True, slots=True)
class ArchivedCall:
    """A recorded call, or a part of one, under a unique name: `entry_id` MS-SEQ within `epoch`."""

    epoch: str
    entry_id: str
    kind: RecordKind
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of recorded rows below the model's folder."""

    path: str
    """Its place below the folder: kind, day and name."""
    types: str
    """A digest that stands for the names and types of its columns."""
    rows: int
    """The number of its rows."""
    first: int
    """The time of its oldest row, in microseconds since 1970."""
    last: int
    """The time of its newest row, in microseconds since 1970."""

    @property
    def kind_and_day(self) -> tuple[str, str]:
        kind, day, _ = self.path.split("/")
        return kind, day.removeprefix("day=")

    @property
    def came_at(self) -> float:
        """The time at which its newest row was recorded, in POSIX seconds: the last entry id is in the file's name."""
        name = self.path.rsplit("/", 1)[1].split(".")[0]
        return _position(name.split("_")[-1])[0] / 1000


@dataclass(frozen=True, slots=True)
class ArchiveManifest:
    """The files that count, and the recorded calls that are in them, so that none is archived twice."""

    number: int = 0
    """Its place in the row of manifests; the highest one counts."""
    floor: int = 0
    """The number below which a writer that started earlier may no longer add files."""
    below: Mapping[str, str] = field(default_factory=dict)
    """For each epoch of the store, the entry id before which every call is archived."""
    held: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For each epoch, the ids of archived calls from there on."""
    files: tuple[DataFile, ...] = ()
    """The files that count."""

    def holds(self, call: ArchivedCall) -> bool:
        return call.entry_id in self.held.get(call.epoch, ()) or (
            call.epoch in self.below and _position(call.entry_id) < _position(self.below[call.epoch])
        )

    def with_calls(self, calls: Sequence[ArchivedCall], files: Sequence[DataFile], oldest: str) -> "ArchiveManifest":
        """The manifest with these calls too, without the ids of calls before `oldest`, which can only come late."""
        below, held = dict(self.below), dict(self.held)
        for epoch in {call.epoch for call in calls}:
            below[epoch] = max(oldest, below.get(epoch, "0-0"), key=_position)
            ids = {*held.get(epoch, ()), *(call.entry_id for call in calls if call.epoch == epoch)}
            held[epoch] = tuple(sorted(item for item in ids if _position(item) >= _position(below[epoch])))
        return replace(self, below=below, held=held, files=(*self.files, *files))

    def to_json(self) -> bytes:
        files = [[file.path, file.types, file.rows, file.first, file.last] for file in self.files]
        return json.dumps({"floor": self.floor, "below": self.below, "held": self.held, "files": files}).encode()


def new_calls(now: ArchiveManifest, calls: Sequence[ArchivedCall]) -> list[ArchivedCall]:
    return [call for call in calls if not now.holds(call)]


def newest_manifest(folder: Path) -> ArchiveManifest:
    """The manifest with the highest number, an empty one where there is none yet."""
    while True:
        numbers = _numbers(folder)
        if not numbers:
            return ArchiveManifest()
        path = _manifest(folder, max(numbers))
        with contextlib.suppress(FileNotFoundError):  # cleared away since it was listed
            written = path.stat()
            return _read_manifest(path, max(numbers), (written.st_ino, written.st_mtime_ns))


def change_manifest(
    folder: Path, start: int | None, change: Callable[[ArchiveManifest], ArchiveManifest | None]
) -> bool:
    """Makes the next manifest, again and again until no other writer is faster; False where `change` gives none.

    A change whose files carry the number `start` is refused if that is below the floor.
    """
    while True:
        now = newest_manifest(folder)
        after = None if start is not None and start < now.floor else change(now)
        if after is None:
            return False
        if create_file(_manifest(folder, now.number + 1), after.to_json()):
            break
    for number in sorted(_numbers(folder))[:-_KEPT_MANIFESTS]:
        _manifest(folder, number).unlink(missing_ok=True)
    return True


@lru_cache(maxsize=32)
def _read_manifest(path: Path, number: int, written: tuple[int, int]) -> ArchiveManifest:
    """A manifest from its file, cached; `written` sets it apart from one of the same number in a folder made anew."""
    try:
        content = json.loads(path.read_bytes())
        files = tuple(DataFile(*item) for item in content["files"])
        held = {epoch: tuple(ids) for epoch, ids in content["held"].items()}
        return ArchiveManifest(number, content["floor"], content["below"], held, files)
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"archive: {path} is not a manifest: {error}") from None


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
