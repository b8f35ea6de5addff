"""Shared polls: one question at a time about each thing, however many callers wait for its answer."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from serve_app.admission import Places

Answer = TypeVar("Answer")
Subject = TypeVar("Subject", bound=Hashable)


class SharedPolls(Generic[Subject, Answer]):
    """Polls of subjects by `ask`, each `pause_s` after somebody began to wait; `watchers` has places for those."""

    def __init__(
        self,
        ask: Callable[[Subject], Awaitable[Answer]],
        watchers: Places,
        pause_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.watchers = watchers
        self._ask = ask
        self._pause_s = pause_s
        self._sleep = sleep
        self._polls: dict[Subject, asyncio.Task[Answer]] = {}

    async def next_look(self, subject: Subject) -> Answer:
        """The answer of the subject's next poll; raises its error."""
        poll = self._polls.get(subject)
        if poll is None:
            poll = self._polls[subject] = asyncio.ensure_future(self._poll(subject))
            poll.add_done_callback(lambda ended: self._forget(subject, ended))
        return await asyncio.shield(poll)

    async def _poll(self, subject: Subject) -> Answer:
        await self._sleep(self._pause_s)
        return await self._ask(subject)

    def _forget(self, subject: Subject, poll: "asyncio.Task[Answer]") -> None:
        del self._polls[subject]
        if not poll.cancelled():
            poll.exception()  # retrieved, where nobody waits any more
