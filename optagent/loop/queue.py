"""Process queue: submitted processes wait for a free place, and the most urgent one starts first.

Urgency is a head start in time: a process for a decaying model goes ahead of all that were submitted in the two hours
before it, and a process that a person submitted goes one hour ahead of scheduled runs and backtests. So every process
starts in the end.
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


def startable(processes: Iterable[Process], max_processes: int) -> tuple[Process, ...]:
    """The queued processes that can start now, the most urgent first, so that at most `max_processes` run.

    Every running process takes a place, also one that did not come from the queue.
    """
    processes = list(processes)
    free = max_processes - sum(process.status in _RUNS for process in processes)
    return tuple(sort_queue(processes)[: max(0, free)])


def sort_queue(processes: Iterable[Process]) -> list[Process]:
    """The processes that wait, in the order in which they will start."""
    waiting = (process for process in processes if process.status is Status.QUEUED)
    return sorted(waiting, key=lambda process: (process.created_at - _head_start_s(process), process.process_id))


def _head_start_s(process: Process) -> float:
    trigger = process.command.get("trigger", Trigger.MANUAL)
    if trigger in _DECAYS:
        return _URGENT_S
    return _ASKED_S if trigger == Trigger.MANUAL and process.kind != "backtest" else 0.0


async def start_due(store: Store, launcher: Launcher, max_processes: int, clock: Clock) -> tuple[str, ...]:
    """Launches the processes that can start, and answers their ids; one that was asked to stop ends without a start.

    A process stays queued until its runner has taken it, so each call until then launches it again: a runner that
    died on its way is replaced, and one that lives is not doubled. Raises Unavailable.
    """
    processes = await store.processes(limit=_LOOKED_AT)
    to_cancel = [process for process in sort_queue(processes) if await store.cancel_requested(process.process_id)]
    for process in to_cancel:
        await _end_unstarted(process, store, clock)
    starting = startable([process for process in processes if process not in to_cancel], max_processes)
    for process in starting:
        await asyncio.to_thread(launcher.launch, process.process_id)
    return tuple(process.process_id for process in starting)


async def _end_unstarted(process: Process, store: Store, clock: Clock) -> None:
    with contextlib.suppress(Conflict, ProcessNotFound):  # a runner was faster; it sees the request itself
        claim = await store.claim_process(process.process_id, _TO_END_S)
        why = "cancelled while it waited"
        await store.save_process(claim.with_event(clock.now(), "cancelled", Status.CANCELLED, error=why))
