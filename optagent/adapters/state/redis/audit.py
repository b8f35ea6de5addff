"""The audit log in Redis or Valkey.

Keys, below a prefix: `audit:links` (list of links, the newest first), `audit:head` and `audit:start` (points of the
chain: the newest link, and what the oldest follows), `audit:call:ID` (a call that was taken in; expires).
"""

import asyncio
import secrets
from typing import Any

from optagent.adapters.state.audit_bounds import KEPT, checked_after
from optagent.adapters.state.process_lease import checked_limit
from optagent.adapters.state.redis import audit_scripts
from optagent.adapters.state.redis.connection import RedisAdapter, RedisConnection
from optagent.domain.audit import (
    GENESIS,
    AuditEntry,
    AuditLink,
    AuditPage,
    ChainPoint,
    link_entry,
    parse_link,
    parse_point,
)
from optagent.errors import Busy, InvalidRequest, OptAgentError

_CALL_MS = 30_000  # longer than any call is repeated
_TRIES = 100  # each that is lost is an entry of another process that was appended


class RedisAudit(RedisAdapter):
    """The part of a Store that keeps the audit log."""

    def __init__(self, link: RedisConnection, kept: int = KEPT) -> None:
        super().__init__(link)
        self._kept_links = kept
        self._turn = asyncio.Lock()

    async def append_audit(self, entry: AuditEntry) -> None:
        """Raises Busy where a hundred times in a row another process was faster."""
        call = self._link.key("audit", "call", secrets.token_hex(8))
        link_entry(GENESIS, entry)  # refuses what cannot be written, before anything is asked of the server

        async def appended() -> None:
            known = False
            while not known:  # a server that fell over in between may have lost the link
                async with self._turn:
                    await self._append(entry, call)
                known = await self._link.write("PEXPIRE", call, _CALL_MS)  # waits for the disk, and others need not

        await self._link.ask(appended)

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        links, last = self._audit_keys()[0], checked_limit(limit) - 1
        kept: list[Any] = await self._link.ask(lambda: self._link.redis.lrange(links, 0, last))
        return [self._entry(_link(line)) for line in kept]

    async def audit_links(self, after: int = 0, limit: int = 1000) -> AuditPage:
        values = (checked_after(after), checked_limit(limit))
        start, head, lines = await self._link.run_at_once(audit_scripts.PAGE, self._audit_keys(), *values)
        return AuditPage(self._point(start), self._point(head), tuple(map(_link, reversed(lines))))

    async def _append(self, entry: AuditEntry, call: str) -> None:
        keys = self._audit_keys()
        for _ in range(_TRIES):
            head: Any = await self._link.ask(lambda: self._link.redis.get(keys[1])) or b""
            link = link_entry(self._point(head), entry)
            values = (link.line, str(link.point), head, self._kept_links, _CALL_MS)
            if await self._link.run_at_once(audit_scripts.APPEND, (*keys, call), *values) == b"OK":
                return
        raise Busy(f"others appended {_TRIES} times to the audit log in Redis at {self._link.address}: try again")

    def _audit_keys(self) -> tuple[str, str, str]:
        return self._link.key("audit", "links"), self._link.key("audit", "head"), self._link.key("audit", "start")

    def _point(self, kept: bytes) -> ChainPoint:
        try:
            return parse_point(kept.decode(errors="backslashreplace")) if kept else GENESIS
        except InvalidRequest as error:
            raise self._unreadable(error) from None

    def _entry(self, link: AuditLink) -> AuditEntry:
        try:
            return link.entry
        except InvalidRequest as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: InvalidRequest) -> OptAgentError:
        return OptAgentError(f"the audit log in Redis at {self._link.address} was altered: {error}")


def _link(line: bytes) -> AuditLink:
    return parse_link(line.decode(errors="backslashreplace"))
