"""Process watch: the next change of a process, or all its changes as server-sent events."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from fastapi.sse import ServerSentEvent

from optagent.codec import encode, without_secrets
from optagent.domain.process import Process
from optagent.errors import NotFound, Unavailable

_LONGEST_S = 900.0  # then a stream ends, and its client connects again with a token that is still valid
_AGAIN_MS = 1000


@dataclass(frozen=True, slots=True)
class ProcessWatch:
    """Looks at a process every `poll_s`; tests replace `sleep`."""

    look: Callable[[str], Awaitable[Process]]
    poll_s: float = 0.5
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def wait_for_change(self, process: Process, wait_s: float) -> Process:
        """The process as soon as its status, stage or progress has changed, or as it is after `wait_s`."""
        for _ in range(math.ceil(wait_s / self.poll_s)):
            if process.status.has_ended:
                break
            await self.sleep(self.poll_s)
            later = await self.look(process.process_id)
            if _visible_state(later) != _visible_state(process):
                return later
        return process

    async def events(self, process: Process) -> AsyncIterator[ServerSentEvent]:
        """An event for the process and one for each change, until it has ended. Waits while a part is unavailable."""
        yield _event(process, retry=_AGAIN_MS)
        for _ in range(math.ceil(_LONGEST_S / self.poll_s)):
            if process.status.has_ended:
                return
            try:
                later = await self.wait_for_change(process, self.poll_s)
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
