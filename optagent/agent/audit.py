"""Audit verbs: the log is written, listed, verified and exported, and its decisions are replayed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from optagent.agent.base import AgentBase
from optagent.domain.audit import AuditEntry, AuditRecord, parse_point
from optagent.domain.audit_chain import ChainReport
from optagent.domain.audit_search import AuditSearch
from optagent.errors import Conflict, InvalidRequest

if TYPE_CHECKING:
    from optagent.domain.mixture_status import MixtureReplay
    from optagent.loop.gates.replay import GateReplay
    from optagent.loop.rollout.replay import RolloutReplay

# What replays import (scikit-learn, scipy) takes seconds: it is imported where it is needed.


class AuditVerbs(AgentBase):
    """Writes and verifies the audit log."""

    async def record_audit(self, entry: AuditEntry) -> None:
        """Appends an entry to the audit log, without the secrets of URLs in it.

        Beyond ten a minute, failed acts of an actor are summed up in one.
        """
        await self._acts.record(entry)

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        """The newest lines of the audit log, the latest first."""
        return await self._ports.store.audit(limit)

    async def audit_records(
        self, limit: int = 100, before: int | None = None, search: AuditSearch | None = None
    ) -> list[AuditRecord]:
        """The newest entries with their sequence numbers, the latest first, also those that were archived.

        `before` continues a list: the sequence number of its last entry. With a `search`, only entries that fit it.
        """
        from optagent.loop.audit import newest_records

        return await newest_records(self._ports.store, limit, before, search)

    async def verify_audit(self, noted: str | None = None) -> ChainReport:
        """Checks that the audit log is whole: no entry altered, none missing, all in their order, from the oldest on.

        Archived links are checked too, and signatures by the keys of `OPT_AGENT_AUDIT_KEY_FILE`, so that a log which
        somebody with write access to the whole store has replaced is detected. `noted` is the head of an earlier
        report, `SEQUENCE:DIGEST`, that was kept elsewhere: the log must still hold it.
        """
        from optagent.loop.audit import verify_audit

        return await verify_audit(self._ports.store, None if noted is None else parse_point(noted), lambda lines: None)

    async def export_audit(self, path: str | Path) -> ChainReport:
        """Writes the audit log as lines of JSON to a new file, which can be verified alone; answers its verification.

        An altered log is exported as it is. Raises Conflict where the file exists and InvalidRequest where it cannot
        be written.
        """
        from optagent.loop.audit import verify_audit

        with new_file(Path(path)) as file:
            return await verify_audit(
                self._ports.store, None, lambda lines: file.writelines(f"{line}\n" for line in lines)
            )

    async def replay_decision(self, which: str | int) -> "RolloutReplay | GateReplay | MixtureReplay":
        """Makes the decisions of a rollout, an optimization or a mixture again, and compares bit for bit.

        `which` is the id of a rollout, of a process or of a model with a mixture, or the sequence number of a link of
        the audit log. The whole log is verified on the way. Raises NotFound, InvalidRequest for a link that is no such
        decision, and Busy as `verify_audit`.
        """
        from optagent.loop.audit import replay_decision

        return await replay_decision(str(which), self._ports)


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """A file that only its owner may read, and that is gone again where writing it failed."""
    try:
        path.touch(mode=0o600, exist_ok=False)
        try:
            with path.open("w", encoding="utf-8", newline="\n") as file:
                yield file
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except FileExistsError:
        raise Conflict(f"{path} exists already: give the name of a new file") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror}") from None
