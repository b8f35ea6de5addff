"""Pages of processes by an opaque cursor: a page starts after the last process of the page before, despite new ones."""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable

from optagent.domain.process import Process, Status
from optagent.errors import InvalidRequest

_DEEPEST = 1000  # each carries its command, history and result, and is decoded in Control and here

Newest = Callable[[int], Awaitable[list[Process]]]
"""Returns so many of the newest processes."""


async def page_of_processes(
    newest: Newest, status: Status | None, cursor: str | None, limit: int
) -> tuple[list[Process], str | None]:
    """The next `limit` processes of that status after the cursor, and the cursor after them; None on the last page.

    Only the newest thousand processes are looked through. Raises InvalidRequest for a cursor that is not one of
    this API.
    """
    last_shown = _decode_cursor(cursor) if cursor is not None else None
    count = limit + 1
    while True:
        processes = await newest(count)
        rest = [process for process in _processes_after(processes, last_shown) if status in (None, process.status)]
        if len(rest) > limit or len(processes) < count or count >= _DEEPEST:
            break
        count = min(4 * count, _DEEPEST)
    page = rest[:limit]
    return page, _encode_cursor(page[-1]) if len(rest) > limit else None


def _processes_after(processes: list[Process], last_shown: tuple[float, str] | None) -> list[Process]:
    if last_shown is None:
        return processes
    created_at, process_id = last_shown
    place = next((place for place, process in enumerate(processes) if process.process_id == process_id), None)
    if place is not None:
        return processes[place + 1 :]
    return [process for process in processes if process.created_at < created_at]


def _encode_cursor(last: Process) -> str:
    return base64.urlsafe_b64encode(json.dumps([last.created_at, last.process_id]).encode()).decode()


def _decode_cursor(cursor: str) -> tuple[float, str]:
    try:
        created_at, process_id = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        return float(created_at), str(process_id)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise InvalidRequest(f"cursor {cursor[:100]!r} was not given out by this API") from None
