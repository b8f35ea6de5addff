"""The agent of another process: verbs go by a Serve handle to Control, and refusals come back as they were raised."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from optagent.agent import OptimizationAgent
from optagent.errors import InvalidRequest, OptAgentError, Unavailable
from serve_app.lazy_agent import LazyAgent

_log = logging.getLogger("optagent.api")

_LIMIT_S = 30.0
_LONGER_S = {
    "analyze_model": 300.0,
    "analyze_files": 300.0,
    "import_model": 300.0,
    "register_model": 120.0,
    "verify_audit": 120.0,
    "replay_decision": 300.0,
    # These wait for gateways to load what they are to answer by.
    "start_rollout": 60.0,
    "promote_rollout": 60.0,
    "abort_rollout": 60.0,
    "rollback_rollout": 60.0,
}


@dataclass(frozen=True, slots=True)
class VerbOutcome:
    """What a verb answered, or the refusal that it raised."""

    answer: Any = None
    refusal: OptAgentError | None = None


async def outcome_of(held: LazyAgent, verb: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> VerbOutcome:
    """The called side. A refusal is an answer like any other: Serve would log an exception with its traceback."""
    if verb.startswith("_") or not callable(getattr(OptimizationAgent, verb, None)):
        return VerbOutcome(refusal=InvalidRequest(f"an agent has no verb {verb!r}"))
    try:
        agent = await held.agent()
        return VerbOutcome(await getattr(agent, verb)(*arguments, **named))
    except OptAgentError as error:
        return VerbOutcome(refusal=error)


class RemoteAgent:
    """Stands for an OptimizationAgent behind `handle`. Raises Unavailable where Control does not answer in time."""

    def __init__(self, handle: Any, limit_s: float = _LIMIT_S) -> None:
        self._handle = handle
        self._limit_s = limit_s

    def __getattr__(self, verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if verb.startswith("_"):
            raise AttributeError(verb)
        return partial(self._call, verb)

    async def _call(self, verb: str, *arguments: Any, **named: Any) -> Any:
        from ray.exceptions import RayError, RayTaskError
        from ray.serve.exceptions import RayServeException

        limit_s = max(self._limit_s, _LONGER_S.get(verb, 0.0))
        response = self._handle.call.remote(verb, arguments, named)
        try:
            outcome: VerbOutcome = await asyncio.wait_for(_answer(response), limit_s)
        except TimeoutError:
            response.cancel()
            raise Unavailable(f"control does not answer {verb} within {limit_s:g} s") from None
        except RayTaskError:
            raise  # a fault of ours
        except (RayError, RayServeException) as error:
            _log.warning("control cannot be asked for %s: %s", verb, error)
            raise Unavailable(f"control cannot be asked for {verb} now: {type(error).__name__}") from None
        if outcome.refusal is not None:
            raise outcome.refusal
        return outcome.answer


async def _answer(response: Any) -> Any:
    return await response
