"""Audit archiver: copies links from Redis to files while they are new, and drops them from Redis once they are old.

Each program that appends archives too, a while after it has appended. Whatever fails is logged and tried again: links
stay in Redis until a file has them.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from optagent.adapters.state.audit.files import AuditFiles
from optagent.adapters.state.redis import audit_scripts
from optagent.adapters.state.redis.connection import RedisConnection
from optagent.domain.audit import GENESIS, ChainPoint, parse_link, parse_point
from optagent.domain.audit_anchor import AuditAnchor
from optagent.errors import OptAgentError

_REST_S = 10.0  # so old may the anchored head become: links after it can be cut off unseen
_CLOSE_S = 10.0

_log = logging.getLogger("optagent.audit")


class RedisAuditArchiver:
    """Keeps the files of a log up to date, in the background of the program that appends to it.

    `keys` are those of the links, the head and the start. The newest `max_links` links stay in Redis.
    """

    def __init__(self, link: RedisConnection, keys: tuple[str, str, str], files: AuditFiles, max_links: int) -> None:
        self._link, self._keys, self._files, self._max_links = link, keys, files, max_links
        self._head = self._anchored = GENESIS
        self._signed_from: int | None = None
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def note(self, point: ChainPoint) -> None:
        """Takes notice of a signed link that is in the log and on disk."""
        self._head = max(self._head, point, key=lambda each: each.sequence)
        self._signed_from = self._signed_from or point.sequence
        self._start()

    async def close(self) -> None:
        """Waits until the files are up to date, but not for long."""
        self._closing.set()
        self._start()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_CLOSE_S)

    async def archive(self) -> None:
        """Copies full batches to files, notes the head in the anchor, and drops archived links beyond the bound."""
        start, head, _ = await self._page(0, 0)
        newest = self._head
        await asyncio.to_thread(self._files.anchor.note, AuditAnchor(start, self._signed_from, newest))
        self._anchored = newest
        archive = self._files.archive
        done = max(await asyncio.to_thread(archive.last), start.sequence)
        while archive.end_of_batch(done + 1) <= head.sequence:
            lines = await self._batch(done)
            if lines is None:
                break
            await asyncio.to_thread(archive.write, done + 1, lines)
            done += len(lines)
        while archive.end_of_batch(start.sequence + 1) <= head.sequence - self._max_links:
            dropped = await self._drop_batch(start)
            if dropped is None:
                break
            start = dropped

    def _start(self) -> None:
        if self._anchored != self._head and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._keep_up())

    async def _keep_up(self) -> None:
        """Archives until the newest link is anchored, with a rest after each time."""
        while self._anchored != self._head:
            try:
                await self.archive()
            except (OptAgentError, OSError) as error:
                _log.error("the audit log is not archived, and stays in Redis: %s", error)
                if self._closing.is_set():
                    return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _REST_S)

    async def _drop_batch(self, start: ChainPoint) -> ChainPoint | None:
        """The new start without the oldest batch, of which a file is made sure of first; None where others did it."""
        lines = await self._batch(start.sequence)
        if lines is None:
            return None
        await asyncio.to_thread(self._files.archive.write, start.sequence + 1, lines)
        last = parse_link(lines[-1].decode(errors="backslashreplace"))
        after = ChainPoint(start.sequence + len(lines), last.digest or GENESIS.digest)
        values = ("" if start == GENESIS else str(start), len(lines), lines[-1], str(after))
        is_dropped = await self._link.run_at_once(audit_scripts.TRIM, self._keys, *values)
        return after if is_dropped else None

    async def _batch(self, after: int) -> Sequence[bytes] | None:
        """The lines after a place up to the end of its batch, None where some are not in Redis (any more)."""
        wanted = self._files.archive.end_of_batch(after + 1) - after
        start, _, lines = await self._page(after, wanted)
        return lines if start.sequence <= after and len(lines) == wanted else None

    async def _page(self, after: int, limit: int) -> tuple[ChainPoint, ChainPoint, list[bytes]]:
        answer: Any = await self._link.run_at_once(audit_scripts.PAGE, self._keys, after, limit, 1)
        start, head = (parse_point(each.decode(errors="backslashreplace")) if each else GENESIS for each in answer[:2])
        return start, head, answer[2][::-1]
