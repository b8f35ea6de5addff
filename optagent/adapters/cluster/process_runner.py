"""Does the work of one queued process, from an agent of its own. It knows nothing of Ray."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from optagent.errors import Conflict, LeaseLost, OptAgentError, ProcessNotFound, Unavailable

_log = logging.getLogger("optagent.process")
_PAUSE_S, _PAUSE_MOST_S = 0.5, 30.0


class QueueRunner(Protocol):
    """What running a process needs of an agent."""

    async def run_queued(self, process_id: str) -> None: ...

    async def close(self) -> None: ...


Recipe = Callable[[], Awaitable[QueueRunner]]


async def run_process_of(process_id: str, recipe: Recipe) -> None:
    """Returns once the process has ended, or is not this program's to run; how it ended is in the store.

    A store or registry that is away when the agent is made is waited for.
    """
    agent = await _made(process_id, recipe)
    try:
        await agent.run_queued(process_id)
    except LeaseLost as error:
        _log.warning("stopped: %s", error)
    except (Conflict, ProcessNotFound) as error:
        _log.info("process %s is not run here: %s", process_id, error)
    except OptAgentError as error:
        _log.warning("process %s: %s", process_id, error)
    except Exception:
        _log.exception("process %s", process_id)
    finally:
        await agent.close()


async def _made(process_id: str, recipe: Recipe) -> QueueRunner:
    pause_s = _PAUSE_S
    while True:
        try:
            return await recipe()
        except Unavailable as error:
            _log.warning("process %s waits: %s", process_id, error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MOST_S)
