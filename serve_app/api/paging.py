"""Pages of processes by an opaque cursor: the next page goes on after the last process shown, whatever came since."""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable

from optagent.domain.process import Process, Status
from optagent.errors import InvalidRequest

_DEEPEST = 10_000

Newest = Callable[[int], Awaitable[list[Process]]]
"""Answers so many of the newest processes."""


async def page(
    newest: Newest, status: Status | None, cursor: str | None, limit: int
) -> tuple[list[Process], str | None]:
    """The next `limit` processes of that status after the cursor, and the cursor after them; None on the last page.

    Older ones than the newest ten thousand are not looked for. Raises InvalidRequest for a cursor that was not given
    out.
    """
    after = _decoded(cursor) if cursor is not None else None
    asked = limit + 1
    while True:
        found = await newest(asked)
        rest = [process for process in _after(found, after) if status in (None, process.status)]
        if len(rest) > limit or len(found) < asked or asked >= _DEEPEST:
            break
        asked = min(4 * asked, _DEEPEST)
    shown = rest[:limit]
    return shown, _encoded(shown[-1]) if len(rest) > limit else None


def _after(found: list[Process], after: tuple[float, str] | None) -> list[Process]:
    if after is None:
        return found
    created_at, process_id = after
    place = next((place for place, process in enumerate(found) if process.process_id == process_id), None)
    if place is not None:
        return found[place + 1 :]
    return [process for process in found if process.created_at < created_at]


def _encoded(last: Process) -> str:
    return base64.urlsafe_b64encode(json.dumps([last.created_at, last.process_id]).encode()).decode()


def _decoded(cursor: str) -> tuple[float, str]:
    try:
        created_at, process_id = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        return float(created_at), str(process_id)
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise InvalidRequest(f"cursor {cursor[:100]!r} was not given out by this API") from None
