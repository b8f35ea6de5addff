"""Analyses for the API and the dashboard: one at a time a token, shared by all who ask the same, kept for seconds.

An analysis takes up to minutes of a thread of Control, so that a place is held until it ends, whoever still waits.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from optagent.domain.token import Token
from serve_app.admission import Places

_AT_ONCE = 4  # of a gateway; Control has a bound for all gateways
_OF_ONE = 1
_KEPT_S = 5.0
_MOST_KEPT = 8  # a page of plots has megabytes


class Analyses:
    """Runs analyses. Raises TooManyRequests where the token has another one under way, and Busy."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._places = Places("analyses", _AT_ONCE, _OF_ONE)
        self._running: dict[Hashable, asyncio.Future[Any]] = {}
        self._answers: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    async def ask(self, token: Token, question: Hashable, analyze: Callable[[], Awaitable[Any]]) -> Any:
        """The answer to the question: a kept one, that of an analysis under way, or that of a new one.

        Only tokens of the same models share answers: what one may see, another may not.
        """
        token_id, question = token.token_id, (token.models, question)
        kept = self._answers.get(question)
        if kept is not None and self._now() - kept[0] < _KEPT_S:
            return kept[1]
        running = self._running.get(question)
        if running is None:
            self._places.enter(token_id)
            running = self._running[question] = asyncio.ensure_future(analyze())
            running.add_done_callback(lambda ended: self._end(token_id, question, ended))
        return await asyncio.shield(running)

    def _end(self, token_id: str, question: Hashable, ended: "asyncio.Future[Any]") -> None:
        self._places.leave(token_id)
        del self._running[question]
        if ended.cancelled() or ended.exception() is not None:
            return
        self._answers[question] = (self._now(), ended.result())
        self._answers.move_to_end(question)
        if len(self._answers) > _MOST_KEPT:
            self._answers.popitem(last=False)
