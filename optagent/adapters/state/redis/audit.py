"""Redis audit log: the chain of audit entries in Redis or Valkey.

Keys, below a prefix: `audit:links` (list of links, the newest first), `audit:head` and `audit:start` (points of the
chain: the newest link, and the one before the oldest), `audit:call:ID` (the point of a call that was appended;
expires), `audit:key` (the id of the key that signs). With audit files, links are signed, and older ones are read from
the archive; without them (in tests), older ones are dropped.
"""

import asyncio
import secrets
from dataclasses import replace
from typing import Any

from optagent.adapters.state.audit.archive import ArchivedLines
from optagent.adapters.state.audit.files import AuditFiles
from optagent.adapters.state.audit_bounds import MAX_LINKS, checked_after
from optagent.adapters.state.process_lease import checked_limit
from optagent.adapters.state.redis import audit_scripts
from optagent.adapters.state.redis.audit_archiver import RedisAuditArchiver
from optagent.adapters.state.redis.connection import RedisAdapter, RedisConnection
from optagent.domain.audit import (
    GENESIS,
    AuditEntry,
    AuditLink,
    AuditPage,
    ChainPoint,
    CopyFault,
    entry_text,
    next_link,
    parse_link,
    parse_point,
)
from optagent.domain.audit_anchor import AuditTrust
from optagent.domain.audit_signature import AuditKeyring
from optagent.errors import Busy, InvalidRequest, OptAgentError, Unavailable

_CALL_MS = 30_000  # no call is repeated for as long as this
_TRIES = 100  # each try fails only because another process has appended an entry


class RedisAudit(RedisAdapter):
    """The part of a Store that keeps the audit log."""

    def __init__(self, link: RedisConnection, max_links: int = MAX_LINKS, files: AuditFiles | None = None) -> None:
        super().__init__(link)
        self._max_links = max_links
        self._files = files
        self._append_lock = asyncio.Lock()
        self._keyring: AuditKeyring | None = None
        keys = self._audit_keys()
        self._archiver = None if files is None else RedisAuditArchiver(link, keys, files, max_links)

    async def append_audit(self, entry: AuditEntry) -> None:
        """Raises Busy where a hundred times in a row another process was faster, Unavailable without a key."""
        call = self._link.key("audit", "call", secrets.token_hex(8))
        text = entry_text(entry)  # raises for an entry that cannot be written, before the server is asked
        await self._load_keys()

        async def append_durably() -> ChainPoint:
            while True:
                async with self._append_lock:
                    point = await self._append(text, call)
                # Waits for the disk without the lock; a server that crashed in between may have lost the link.
                if await self._link.write("PEXPIRE", call, _CALL_MS):
                    return point

        point = await self._link.ask(append_durably)
        if self._archiver is not None:
            self._archiver.note(point)

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        links, last = self._audit_keys()[0], checked_limit(limit) - 1
        lines: list[Any] = await self._link.ask(lambda: self._link.redis.lrange(links, 0, last))
        return [self._decode_entry(_link(line)) for line in lines]

    async def audit_links(self, after: int = 0, limit: int = 1000) -> AuditPage:
        """Links of the archive and of Redis, as one log; raises OptAgentError where a file cannot be read."""
        if self._files is None:
            start, head, lines = await self._read_page(checked_after(after), checked_limit(limit))
            links = tuple(map(_link, lines))
            return AuditPage(start, head, links, max(after, start.sequence) + len(links))
        page = await self._read_both(checked_after(after), checked_limit(limit))
        while page.links and len(page.links) < limit:  # at a gap: what comes after it
            further = await self._read_both(page.until, limit - len(page.links))
            faults = (*page.faults, *further.faults)
            page = replace(further, links=(*page.links, *further.links), faults=faults)
            if not further.links:
                break
        return page

    async def audit_trust(self) -> AuditTrust:
        return AuditTrust() if self._files is None else await asyncio.to_thread(self._files.trust)

    async def close(self) -> None:
        if self._archiver is not None:
            await self._archiver.close()
        await super().close()

    async def _append(self, text: str, call: str) -> ChainPoint:
        """The point at which the entry stands, now or since an earlier try."""
        keys = self._audit_keys()
        for _ in range(_TRIES):
            keyring = self._keyring or AuditKeyring()
            head: Any = await self._link.ask(lambda: self._link.redis.get(keys[1])) or b""
            link = next_link(self._decode_point(head), text, keyring.newest)
            most = self._max_links if self._files is None else 0
            values = (link.line, str(link.point), head, most, _CALL_MS, link.key_id, *keyring.ids[:-1])
            every_key = (*keys, call, self._link.key("audit", "key"))
            answer: bytes = await self._link.run_at_once(audit_scripts.APPEND, every_key, *values)
            if answer.startswith(b"KEY "):
                await self._load_keys(anew=True)
            elif answer != b"CHANGED":
                return self._decode_point(answer)
        raise Busy(f"others appended {_TRIES} times to the audit log in Redis at {self._link.address}: try again")

    async def _load_keys(self, anew: bool = False) -> None:
        """Reads the keys, unless they are known; raises Unavailable where they cannot go on with this log."""
        if self._keyring is not None and not anew:
            return
        stored: Any = await self._link.ask(lambda: self._link.redis.get(self._link.key("audit", "key")))
        signer, keyring = (stored or b"").decode(errors="replace"), AuditKeyring()
        if self._files is not None:
            keys = self._files.keys
            keyring = await asyncio.to_thread(keys.read if signer else keys.read_or_create)
        if signer and signer not in keyring.ids:
            place = "this program has no keys" if self._files is None else f"{self._files.keys.path} does not hold it"
            raise Unavailable(
                f"the audit log in Redis at {self._link.address} is signed with the key {signer}, and {place}: "
                "OPT_AGENT_AUDIT_KEY_FILE must name the same file for all programs"
            )
        self._keyring = keyring

    async def _read_both(self, after: int, limit: int) -> AuditPage:
        """The links of the places up to `after + limit`, or where there are none, those of the next place on."""
        assert self._files is not None
        start, head, lines = await self._read_page(after, limit, is_exact=True)
        stored = dict(enumerate(lines, max(after, start.sequence) + 1))
        # After Redis, which drops nothing that is not in a file.
        archived, first, next_file = await asyncio.to_thread(_read_files, self._files, after, limit)
        places = sorted({*stored, *archived.lines})
        if not places:
            beyond = next_file
            if beyond is None and after + limit <= start.sequence < head.sequence:
                beyond = start.sequence + 1
            if beyond is not None:
                return await self._read_both(beyond - 1, limit)
        links = tuple(_link(stored[place] if place in stored else archived.lines[place]) for place in places)
        until = places[-1] if places else after
        return AuditPage(first or start, head, links, until, _compare_copies(stored, archived))

    async def _read_page(
        self, after: int, limit: int, is_exact: bool = False
    ) -> tuple[ChainPoint, ChainPoint, list[bytes]]:
        values = (after, limit, int(is_exact))
        start, head, lines = await self._link.run_at_once(audit_scripts.PAGE, self._audit_keys(), *values)
        return self._decode_point(start), self._decode_point(head), lines[::-1]

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


def _read_files(files: AuditFiles, after: int, limit: int) -> tuple[ArchivedLines, ChainPoint | None, int | None]:
    """The archived lines, the point after which no link may be missing, and the first place of the next file."""
    archived, anchor = files.archive.read(after, limit), files.anchor.read()
    if anchor is not None:
        start: ChainPoint | None = anchor.start
    else:
        start = GENESIS if files.archive.last() else None
    return archived, start, files.archive.next_file(after + limit)


def _compare_copies(stored: dict[int, bytes], archived: ArchivedLines) -> tuple[CopyFault, ...]:
    """The faults of the archive, with the links of which its copy differs from the link in Redis."""
    differing = [place for place, line in archived.lines.items() if stored.get(place, line) != line]
    unlike = (CopyFault(place, "its archived copy differs from the link in Redis") for place in differing)
    return (*archived.faults, *unlike)
