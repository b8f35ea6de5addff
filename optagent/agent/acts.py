"""Recorded acts: each change is made together with its entry in the audit log, under the name of its actor."""

import getpass
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypeVar

from optagent.codec import plain, without_secrets
from optagent.domain.actor import Actor, Door
from optagent.domain.audit import AuditEntry
from optagent.domain.rollout import AUTOMATIC
from optagent.errors import InvalidRequest, OptAgentError
from optagent.held_tasks import HeldTasks
from optagent.loop.refusal_log import FailureLimit, RefusalLog
from optagent.ports import Clock, Store

Answer = TypeVar("Answer")

SUPERVISOR = Actor(AUTOMATIC, Door.SUPERVISOR)
"""The actor of what the product does by itself."""

_UNEXPECTED = "something went wrong that should not have; the log of the program has it"
_CUT_OFF = "its program stopped before it had ended; it may have been done"
_UNWRITABLE = {"unwritable": "what was asked for cannot be written as JSON"}

_log = logging.getLogger("optagent.acts")
_actor: ContextVar[Actor | None] = ContextVar("actor", default=None)


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Makes `actor` the author of all acts within this context."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor(door: Door = Door.SDK) -> Actor:
    """The actor of this context, by default the user of this machine, who came through `door`."""
    actor = _actor.get()
    return local_actor(door) if actor is None else actor


def named_actor(who: str) -> Actor:
    """The actor of this context; where that is a user of this machine, under the name `who`, if given."""
    actor = current_actor()
    return replace(actor, name=who) if who and not actor.token_id else actor


def local_actor(door: Door) -> Actor:
    try:
        return Actor(getpass.getuser(), door)
    except (KeyError, OSError):  # a user without a name
        return Actor("unknown", door)


class ActingAgent:
    """Stands for an agent, local or remote, whose verbs are all called as `actor`."""

    def __init__(self, agent: Any, actor: Actor) -> None:
        self._agent: Any = agent._agent if isinstance(agent, ActingAgent) else agent
        self._actor = actor

    def __getattr__(self, verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        call = getattr(self._agent, verb)

        async def call_as_actor(*arguments: Any, **keywords: Any) -> Any:
            with acting_as(self._actor):
                return await call(*arguments, **keywords)

        return call_as_actor


class ActRecorder:
    """Carries out acts, each in a task of its own that also writes its entry: a caller who hangs up stops neither.

    Entries hold no secrets of URLs. Beyond ten a minute, failed acts of an actor are summed up in one.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tasks = HeldTasks()
        self._failures = FailureLimit()
        self._failure_sums = RefusalLog(store.append_audit)

    async def perform(
        self, action: str, target: str, work: Coroutine[Any, Any, Answer], detail: Mapping[str, Any] | None = None
    ) -> Answer:
        """The answer of `work`, after an entry that it was done, or why it was not."""
        return await self._tasks.run(self._perform(current_actor(), action, target, work, detail or {}))

    async def hold(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """The answer of work that writes entries of its own, and goes on where its caller hangs up."""
        return await self._tasks.run(work)

    async def record(self, entry: AuditEntry) -> None:
        """Appends an entry to the audit log, or to the sums of failed acts."""
        entry = without_secrets(entry)
        if self._failures.admits(entry):
            await self._store.append_audit(entry)
        else:
            self._failure_sums(entry)

    async def close(self) -> None:
        """Waits for the acts that are under way, and for their entries."""
        await self._tasks.close()
        await self._failure_sums.close()

    async def _perform(
        self, actor: Actor, action: str, target: str, work: Coroutine[Any, Any, Answer], detail: Mapping[str, Any]
    ) -> Answer:
        outcome = _CUT_OFF
        try:
            answer = await work
            outcome = "done"
        except Exception as error:
            outcome = str(error) if isinstance(error, OptAgentError) else _UNEXPECTED
            raise
        finally:
            if outcome == "done" or actor.door is not Door.SUPERVISOR:  # what it cannot do, it tries every few seconds
                now = self._clock.now()
                entry = AuditEntry(now, str(actor), action, str(target), outcome, actor.request_id, dict(detail))
                await self._write(entry)
        return answer

    async def _write(self, entry: AuditEntry) -> None:
        try:
            try:
                await self.record(replace(entry, detail=plain(entry.detail)))
            except (InvalidRequest, ValueError):  # no request may be worded so that its act leaves no entry
                await self.record(_writable_part(entry))
        except OptAgentError as error:  # the work is done: an error would make the caller do it twice
            _log.error("the audit log did not take %r: %s", entry, error)


def _writable_part(entry: AuditEntry) -> AuditEntry:
    """The entry without its detail, and with texts that are valid Unicode."""
    names = ("actor", "target", "outcome", "request_id")
    texts: dict[str, Any] = {name: str(getattr(entry, name)).encode("utf-8", "replace").decode() for name in names}
    return replace(entry, detail=_UNWRITABLE, **texts)
