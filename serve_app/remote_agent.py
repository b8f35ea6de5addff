"""Remote agent: it calls verbs of the agent in Control by a Serve handle, and raises their refusals here."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from optagent.agent.acts import current_actor
from optagent.errors import Unavailable
from serve_app.control import VerbOutcome

_log = logging.getLogger("optagent.api")

_LIMIT_S = 30.0
_LONGER_S = {
    "analyze_model": 300.0,
    "analyze_files": 300.0,
    "analysis_page": 300.0,
    "label_maturity": 300.0,
    "import_model": 300.0,
    "register_model": 120.0,
    "verify_audit": 120.0,
    "replay_decision": 300.0,
    # These wait for gateways to load the versions that are to answer.
    "start_rollout": 60.0,
    "promote_rollout": 60.0,
    "abort_rollout": 60.0,
    "rollback_rollout": 60.0,
    "freeze_mixture": 60.0,
    "thaw_mixture": 60.0,
    "use_champion_only": 60.0,
    "forget_mixture_rows": 300.0,  # it learns all archived rows again
}
"""Limits in seconds of the verbs of the agent that may take longer than `_LIMIT_S`."""


class RemoteAgent:
    """Stands for an OptimizationAgent behind `handle`, which acts for the actor of the caller's context.

    Raises Unavailable where Control does not answer in time: what was asked for may be done all the same.
    """

    def __init__(self, handle: Any, limit_s: float = _LIMIT_S) -> None:
        self._handle = handle
        self._limit_s = limit_s

    def __getattr__(self, verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if verb.startswith("_"):
            raise AttributeError(verb)
        return partial(self._call, verb)

    async def _call(self, verb: str, *arguments: Any, **keywords: Any) -> Any:
        from ray.exceptions import RayError, RayTaskError
        from ray.serve.exceptions import RayServeException

        limit_s = max(self._limit_s, _LONGER_S.get(verb, 0.0))
        response = self._handle.call.remote(verb, arguments, keywords, current_actor())
        try:
            outcome: VerbOutcome = await asyncio.wait_for(_await_response(response), limit_s)
        except TimeoutError:
            response.cancel()
            raise Unavailable(f"control does not answer {verb} within {limit_s:g} s") from None
        except RayTaskError:
            raise  # a defect of this program
        except (RayError, RayServeException) as error:
            _log.warning("control cannot be asked for %s: %s", verb, error)
            raise Unavailable(f"control cannot be asked for {verb} now: {type(error).__name__}") from None
        if outcome.refusal is not None:
            raise outcome.refusal
        return outcome.answer


async def _await_response(response: Any) -> Any:
    return await response
