"""Audit archive: the links of the audit log as files of lines, which are written once and never changed.

A file is named by the places of its links and the SHA-256 of its content, `FIRST-LAST.SHA16.jsonl`. Its links end at a
multiple of the batch, so that programs which archive the same links write the same file, and whoever comes second finds
it there. A file is on disk, and so is its name, before its links may leave the store.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from optagent.adapters.state.archive.durable_files import create_file
from optagent.domain.audit import CopyFault
from optagent.errors import OptAgentError

BATCH = 1000
"""The number of links in a file. Programs that share an archive must agree on it."""

_NAME = re.compile(r"(\d{12})-(\d{12})\.([0-9a-f]{16})\.jsonl")
_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class ArchivedLines:
    """Lines of links by their place, and what is wrong with the files that should hold them."""

    lines: dict[int, bytes]
    faults: tuple[CopyFault, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class _Segment:
    first: int
    last: int
    digest: str

    @property
    def name(self) -> str:
        return f"{self.first:012d}-{self.last:012d}.{self.digest}.jsonl"


class AuditArchive:
    """The files of a folder. Its verbs block, and raise OptAgentError where the folder cannot be read or written."""

    def __init__(self, folder: Path, batch: int = BATCH) -> None:
        self._folder = folder
        self.batch = batch

    def end_of_batch(self, place: int) -> int:
        """The place of the last link of the file that holds `place`."""
        return (place + self.batch - 1) // self.batch * self.batch

    def last(self) -> int:
        """The place of the last archived link, 0 where there is none."""
        return max((segment.last for segment in self._segments()), default=0)

    def next_file(self, after: int) -> int | None:
        """The place of the first link of the next file after `after`, None where there is none."""
        return min((segment.first for segment in self._segments() if segment.first > after), default=None)

    def write(self, first: int, lines: Sequence[bytes]) -> None:
        """Writes the lines from place `first` on; does nothing where the same lines are on disk already."""
        content = b"".join(line.replace(b"\n", b"\\n") + b"\n" for line in lines)
        segment = _Segment(first, first + len(lines) - 1, _digest(content))
        path = self._folder / segment.name
        try:
            if not create_file(path, content, _PRIVATE) and path.read_bytes() != content:
                raise OptAgentError(f"the archived audit log was altered: {path} is not as it was written")
        except OSError as error:
            raise OptAgentError(f"the audit log cannot be archived to {path}: {error.strerror}") from None

    def read(self, after: int, limit: int) -> ArchivedLines:
        """The lines of the places from `after + 1` to `after + limit`, as far as they are archived."""
        lines: dict[int, bytes] = {}
        faults: list[CopyFault] = []
        segments = self._segments()
        within = [each for each in segments if each.last > after and each.first <= after + limit]
        contents = [(segment, self._content(segment)) for segment in within]
        checked = [(_digest(content) != segment.digest, segment, content) for segment, content in contents]
        for is_altered, segment, content in sorted(checked):  # of two files of the same links, an unaltered one first
            if is_altered:  # named by its last link, so that a broken link in it comes first
                faults.append(CopyFault(segment.last, f"{self._folder / segment.name} is not as it was written"))
            for place, line in _placed_lines(segment, content):
                if after < place <= after + limit and lines.setdefault(place, line) != line:
                    faults.append(CopyFault(place, f"it is archived twice in {self._folder}, with different contents"))
        faults += self._gaps(segments, after, limit)
        return ArchivedLines(lines, tuple(faults))

    def _gaps(self, segments: Sequence[_Segment], after: int, limit: int) -> Iterator[CopyFault]:
        """The places in the range that no file covers, though there are files of links before and after them."""
        covered = 0
        for segment in segments:
            missing = max(covered, after) + 1
            if 0 < covered < segment.first - 1 and missing < segment.first and missing <= after + limit:
                yield CopyFault(missing, f"no file in {self._folder} holds it")
            covered = max(covered, segment.last)

    def _content(self, segment: _Segment) -> bytes:
        path = self._folder / segment.name
        try:
            return path.read_bytes()
        except OSError as error:
            raise OptAgentError(f"the archived audit log cannot be read: {path}: {error.strerror}") from None

    def _segments(self) -> list[_Segment]:
        """The files by place."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OptAgentError(f"the archived audit log cannot be read: {self._folder}: {error.strerror}") from None
        matches = [match for match in map(_NAME.fullmatch, names) if match is not None]
        return sorted(_Segment(int(match[1]), int(match[2]), match[3]) for match in matches)


def _placed_lines(segment: _Segment, content: bytes) -> Iterator[tuple[int, bytes]]:
    return zip(range(segment.first, segment.last + 1), content.split(b"\n")[:-1], strict=False)


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]
