"""Control: it makes the agent when it is first needed, and calls its verbs by name for the remote agents of gateways.

Making the agent is tried again as often as it takes while Redis or MLflow are away.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optagent.agent import OptimizationAgent
from optagent.agent.acts import acting_as
from optagent.domain.actor import Actor
from optagent.errors import Busy, InvalidRequest, OptAgentError, Unavailable

_AGAIN_S = 1.0
_LONG = frozenset(
    {"analyze_model", "analyze_files", "analysis_page", "label_maturity", "study", "study_page", "backtest_page"}
    | {"replay_decision", "verify_audit"}
)
_LONG_AT_ONCE = 8  # of the threads of Control, so that the others are there for short verbs
_PATIENCE_S = 10.0


class LazyAgent:
    """One agent for all callers, made by `recipe` at the first call; use it from one event loop."""

    def __init__(self, recipe: Callable[[], Awaitable[OptimizationAgent]]) -> None:
        self._recipe = recipe
        self._lock = asyncio.Lock()
        self._agent: OptimizationAgent | None = None
        self._failure: OptAgentError | None = None
        self._failed_at = 0.0
        self._closed = False

    async def agent(self) -> OptimizationAgent:
        """Raises the error that making it ended with; a call within a second of that gets the same error at once."""
        if self._agent is not None:
            return self._agent
        async with self._lock:
            if self._closed:
                raise Unavailable("control is closing")
            if self._failure is not None and time.monotonic() - self._failed_at < _AGAIN_S:
                raise self._failure
            if self._agent is None:
                try:
                    self._agent = await self._recipe()
                except OptAgentError as error:
                    self._failure, self._failed_at = error, time.monotonic()
                    raise
            return self._agent

    async def close(self) -> None:
        async with self._lock:
            self._closed = True
            agent, self._agent = self._agent, None
        if agent is not None:
            await agent.close()


@dataclass(frozen=True, slots=True)
class VerbOutcome:
    """The answer of a verb, or the refusal that it raised."""

    answer: Any = None
    refusal: OptAgentError | None = None


class VerbServer:
    """Answers calls of the agent's verbs by name."""

    def __init__(self, lazy_agent: LazyAgent) -> None:
        self._lazy_agent = lazy_agent
        self._long_places = asyncio.Semaphore(_LONG_AT_ONCE)
        self._long_calls: set[asyncio.Task[VerbOutcome]] = set()

    async def call(self, verb: str, arguments: Sequence[Any], keywords: Mapping[str, Any], actor: Actor) -> VerbOutcome:
        """The outcome of a verb that `actor` calls. A refusal is returned: raised, Serve would log its traceback."""
        if verb.startswith("_") or not callable(getattr(OptimizationAgent, verb, None)):
            return VerbOutcome(refusal=InvalidRequest(f"an agent has no verb {verb!r}"))
        if verb not in _LONG:
            return await self._call(verb, arguments, keywords, actor)
        try:
            await asyncio.wait_for(self._long_places.acquire(), _PATIENCE_S)
        except TimeoutError:
            return VerbOutcome(refusal=Busy(f"{_LONG_AT_ONCE} analyses and pages of plots are being made: try again"))
        # A task of its own: where a caller gives up, the thread works on, and so the place stays taken.
        call = asyncio.ensure_future(self._call(verb, arguments, keywords, actor))
        self._long_calls.add(call)
        call.add_done_callback(self._end_long_call)
        return await asyncio.shield(call)

    def _end_long_call(self, call: "asyncio.Task[VerbOutcome]") -> None:
        self._long_calls.discard(call)
        self._long_places.release()

    async def _call(
        self, verb: str, arguments: Sequence[Any], keywords: Mapping[str, Any], actor: Actor
    ) -> VerbOutcome:
        try:
            agent = await self._lazy_agent.agent()
            with acting_as(actor):
                return VerbOutcome(await getattr(agent, verb)(*arguments, **keywords))
        except OptAgentError as error:
            return VerbOutcome(refusal=error)
