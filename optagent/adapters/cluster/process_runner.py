"""Process runner: does the work of one queued process with an agent of its own. It does not depend on Ray."""

import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Protocol

from optagent.errors import Conflict, LeaseLost, OptAgentError, ProcessNotFound, Unavailable
from optagent.retry import GrowingPauses, retry_unavailable
from optagent.secret_text import hide_secrets

_log = logging.getLogger("optagent.process")
_PAUSE_S, _PAUSE_MOST_S = 0.5, 30.0


class QueueRunner(Protocol):
    """The verbs of an agent that a process runner calls."""

    async def run_queued(self, process_id: str) -> None: ...

    async def close(self) -> None: ...


Recipe = Callable[[], Awaitable[QueueRunner]]


async def run_process_of(process_id: str, recipe: Recipe) -> None:
    """Runs a queued process and returns once it has ended, or another program runs it; its result is in the store.

    While the agent is made, it waits for a store or registry that is away.
    """

    def note(error: Unavailable) -> None:
        _log.warning("process %s waits: %s", process_id, error)

    agent = await retry_unavailable(recipe, GrowingPauses(_PAUSE_S, _PAUSE_MOST_S), note)
    try:
        await agent.run_queued(process_id)
    except LeaseLost as error:
        _log.warning("stopped: %s", error)
    except (Conflict, ProcessNotFound) as error:
        _log.info("process %s is not run here: %s", process_id, error)
    except OptAgentError as error:
        _log.warning("process %s: %s", process_id, error)
    except Exception:
        _log.error("process %s\n%s", process_id, hide_secrets(traceback.format_exc()))
    finally:
        await agent.close()
