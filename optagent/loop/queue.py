"""The queue: processes that were asked for wait for a place, and the most urgent starts first.

Urgency is a head start: what a decaying model needs goes ahead of all that was asked for in the two hours before it,
what a person asked for ahead of an hour of the calendar's runs and of backtests. So nothing waits for ever.
"""

import asyncio
import contextlib
from collections.abc import Iterable

from optagent.domain.policy import Trigger
from optagent.domain.process import Process, Status
from optagent.errors import Conflict, ProcessNotFound
from optagent.ports import Clock, Launcher, Store

_LOOKED_AT = 1000
_TO_END_S = 15.0
_URGENT_S, _ASKED_S = 7200.0, 3600.0
_DECAYS = (Trigger.DEGRADATION, Trigger.CONCEPT_DRIFT, Trigger.DRIFT, Trigger.CONFIDENCE)
_RUNS = (Status.PENDING, Status.RUNNING)


def due(processes: Iterable[Process], max_processes: int) -> tuple[Process, ...]:
    """Those of the queued processes that start now, the most urgent first, so that at most `max_processes` run.

    Whatever runs takes a place, also what did not come from the queue.
    """
    known = list(processes)
    free = max_processes - sum(process.status in _RUNS for process in known)
    return tuple(queued(known)[: max(0, free)])


def queued(processes: Iterable[Process]) -> list[Process]:
    """Those that wait, the one that is next first."""
    waiting = (process for process in processes if process.status is Status.QUEUED)
    return sorted(waiting, key=lambda process: (process.created_at - _head_start_s(process), process.process_id))


def _head_start_s(process: Process) -> float:
    trigger = process.command.get("trigger", Trigger.MANUAL)
    if trigger in _DECAYS:
        return _URGENT_S
    return _ASKED_S if trigger == Trigger.MANUAL and process.kind != "backtest" else 0.0


async def start_due(store: Store, launcher: Launcher, max_processes: int, clock: Clock) -> tuple[str, ...]:
    """Launches what is due, and answers its ids; a queued process that was asked to stop ends without a start.

    A process stays queued until its runner has taken it, so it is launched again each time until then: a runner that
    died on its way is replaced, and one that lives is not doubled. Raises Unavailable.
    """
    known = await store.processes(limit=_LOOKED_AT)
    cancelled = [process for process in queued(known) if await store.cancel_requested(process.process_id)]
    for process in cancelled:
        await _end_unstarted(process, store, clock)
    starting = due([process for process in known if process not in cancelled], max_processes)
    for process in starting:
        await asyncio.to_thread(launcher.launch, process.process_id)
    return tuple(process.process_id for process in starting)


async def _end_unstarted(process: Process, store: Store, clock: Clock) -> None:
    with contextlib.suppress(Conflict, ProcessNotFound):  # a runner was faster; it sees the request itself
        taken = await store.claim_process(process.process_id, _TO_END_S)
        why = "cancelled while it waited"
        await store.save_process(taken.with_event(clock.now(), "cancelled", Status.CANCELLED, error=why))
