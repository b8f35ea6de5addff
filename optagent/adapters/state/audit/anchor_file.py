"""Audit anchor file: the anchor of the audit log, in the folder of its archive."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optagent.adapters.state.archive.durable_files import make_folder, replace_file
from optagent.domain.audit import parse_point
from optagent.domain.audit_anchor import AuditAnchor
from optagent.errors import InvalidRequest, OptAgentError

_PRIVATE = 0o600


class AuditAnchorFile:
    """The anchor, which only ever grows; programs that note something at once wait for each other."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "anchor.json"

    def read(self) -> AuditAnchor | None:
        """The anchor, None where there is none yet; OptAgentError for a file that holds no anchor."""
        try:
            facts = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self._unreadable(error) from None
        try:
            signed_from = facts["signed_from"]
            return AuditAnchor(
                parse_point(facts["start"]),
                None if signed_from is None else int(signed_from),
                parse_point(facts["head"]),
            )
        except (TypeError, LookupError, ValueError, InvalidRequest) as error:
            raise self._unreadable(error) from None

    def note(self, later: AuditAnchor) -> None:
        """Takes over what is new in `later`; the first start, the first signed link and the last head count."""
        with self._lock():
            now = self.read() or later
            signed = [each for each in (now.signed_from, later.signed_from) if each is not None]
            head = max(now.head, later.head, key=lambda point: point.sequence)
            facts = {"start": str(now.start), "signed_from": min(signed, default=None), "head": str(head)}
            replace_file(self._path, json.dumps(facts).encode(), _PRIVATE)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        make_folder(self._path.parent)
        with (self._path.parent / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
            yield

    def _unreadable(self, error: Exception) -> OptAgentError:
        return OptAgentError(f"{self._path} is not the anchor of an audit log: {error}")
