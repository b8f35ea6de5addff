"""Process watch: the next change of a process, or all its changes as server-sent events.

Whoever watches holds a place of the gateway meanwhile, and those who watch one process share its polls of Control.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from fastapi.sse import ServerSentEvent

from optagent.codec import encode, without_secrets
from optagent.domain.process import Process
from optagent.errors import NotFound, Unavailable
from serve_app.admission import Places
from serve_app.shared_polls import SharedPolls

_LONGEST_S = 900.0  # then a stream ends, and its client connects again with a token that is still valid
_AGAIN_MS = 1000
_POLL_S = 0.5
_POLLS_A_CHECK = 4  # a stream ends two seconds after its token, as everything else does
_WATCHERS = 200
_WATCHERS_OF_ONE = 4

Find = Callable[[str], Awaitable[Process]]


class ProcessPolls(SharedPolls[str, Process]):
    """Polls of processes, one at a time for each process however many wait for it."""

    def __init__(self, find: Find, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        super().__init__(find, Places("waits and streams", _WATCHERS, _WATCHERS_OF_ONE), _POLL_S, sleep)


async def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class ProcessWatch:
    """Watches a process for one caller, as long as `may_go_on`."""

    polls: ProcessPolls
    may_go_on: Callable[[], Awaitable[bool]] = field(default=_always)

    async def wait_for_change(self, process: Process, wait_s: float) -> Process:
        """The process as soon as its status, stage or progress has changed, or as it is after `wait_s`."""
        for poll in range(1, math.ceil(wait_s / _POLL_S) + 1):
            if process.status.has_ended or (poll % _POLLS_A_CHECK == 0 and not await self.may_go_on()):
                break
            later = await self.polls.next_look(process.process_id)
            if _visible_state(later) != _visible_state(process):
                return later
        return process

    async def events(self, process: Process) -> AsyncIterator[ServerSentEvent]:
        """An event for the process and one for each change, until it or the token ends.

        Waits while a part is unavailable.
        """
        yield _event(process, retry=_AGAIN_MS)
        for poll in range(math.ceil(_LONGEST_S / _POLL_S)):
            if process.status.has_ended or (poll % _POLLS_A_CHECK == 0 and not await self.may_go_on()):
                return
            try:
                later = await self.wait_for_change(process, _POLL_S)
            except Unavailable as error:
                yield ServerSentEvent(comment=str(error))
                continue
            except NotFound:  # its time in the store is over
                return
            if later is not process:
                yield _event(later)
            process = later


def _visible_state(process: Process) -> tuple[object, ...]:
    return process.status, process.stage, process.progress


def _event(process: Process, retry: int | None = None) -> ServerSentEvent:
    name = "ended" if process.status.has_ended else "process"
    data = encode(without_secrets(process)).decode()
    return ServerSentEvent(event=name, id=str(process.updated_at), raw_data=data, retry=retry)
