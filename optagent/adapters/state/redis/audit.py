"""Redis audit log: the chain of audit entries in Redis or Valkey.

Keys, below a prefix: `audit:links` (list of links, the newest first), `audit:head` and `audit:start` (points of the
chain: the newest link, and the one before the oldest), `audit:call:ID` (a call that was appended; expires).
"""

import asyncio
import secrets
from typing import Any

from optagent.adapters.state.audit_bounds import MAX_LINKS, checked_after
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

_CALL_MS = 30_000  # no call is repeated for as long as this
_TRIES = 100  # each try fails only because another process has appended an entry


class RedisAudit(RedisAdapter):
    """The part of a Store that keeps the audit log."""

    def __init__(self, link: RedisConnection, max_links: int = MAX_LINKS) -> None:
        super().__init__(link)
        self._max_links = max_links
        self._append_lock = asyncio.Lock()

    async def append_audit(self, entry: AuditEntry) -> None:
        """Raises Busy where a hundred times in a row another process was faster."""
        call = self._link.key("audit", "call", secrets.token_hex(8))
        link_entry(GENESIS, entry)  # raises for an entry that cannot be written, before the server is asked

        async def append_durably() -> None:
            is_durable = False
            while not is_durable:  # a server that crashed in between may have lost the link
                async with self._append_lock:
                    await self._append(entry, call)
                is_durable = await self._link.write("PEXPIRE", call, _CALL_MS)  # waits for the disk without the lock

        await self._link.ask(append_durably)

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        links, last = self._audit_keys()[0], checked_limit(limit) - 1
        lines: list[Any] = await self._link.ask(lambda: self._link.redis.lrange(links, 0, last))
        return [self._decode_entry(_link(line)) for line in lines]

    async def audit_links(self, after: int = 0, limit: int = 1000) -> AuditPage:
        values = (checked_after(after), checked_limit(limit))
        start, head, lines = await self._link.run_at_once(audit_scripts.PAGE, self._audit_keys(), *values)
        return AuditPage(self._decode_point(start), self._decode_point(head), tuple(map(_link, reversed(lines))))

    async def _append(self, entry: AuditEntry, call: str) -> None:
        keys = self._audit_keys()
        for _ in range(_TRIES):
            head: Any = await self._link.ask(lambda: self._link.redis.get(keys[1])) or b""
            link = link_entry(self._decode_point(head), entry)
            values = (link.line, str(link.point), head, self._max_links, _CALL_MS)
            if await self._link.run_at_once(audit_scripts.APPEND, (*keys, call), *values) == b"OK":
                return
        raise Busy(f"others appended {_TRIES} times to the audit log in Redis at {self._link.address}: try again")

    def _audit_keys(self) -> tuple[str, str, str]:
        return self._link.key("audit", "links"), self._link.key("audit", "head"), self._link.key("audit", "start")

    def _decode_point(self, data: bytes) -> ChainPoint:
        try:
            return parse_point(data.decode(errors="backslashreplace")) if data else GENESIS
        except InvalidRequest as error:
            raise self._unreadable(error) from None

    def _decode_entry(self, link: AuditLink) -> AuditEntry:
        try:
            return link.entry
        except InvalidRequest as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: InvalidRequest) -> OptAgentError:
        return OptAgentError(f"the audit log in Redis at {self._link.address} was altered: {error}")


def _link(line: bytes) -> AuditLink:
    return parse_link(line.decode(errors="backslashreplace"))
