"""Process queue: submitted processes wait for a free place, and the most urgent one starts first."""

import asyncio
import contextlib
from collections.abc import Iterable

from optagent.domain.process import Process, Status
from optagent.domain.queue_order import turn_of
from optagent.errors import Conflict, ProcessNotFound
from optagent.ports import Clock, Launcher, Store

_AT_ONCE = 100  # processes that a look reads of those that wait, and ends of those that were cancelled
_TO_END_S = 15.0
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
    return sorted(waiting, key=lambda process: (turn_of(process), process.process_id))


async def start_due(store: Store, launcher: Launcher, max_processes: int, clock: Clock) -> tuple[str, ...]:
    """Launches the processes that can start, and answers their ids; one that was asked to stop ends without a start.

    A process stays queued until its runner has taken it, so each call until then launches it again: a runner that
    died on its way is replaced, and one that lives is not doubled. Raises Unavailable.
    """
    head = await store.queue_head(max(max_processes, _AT_ONCE))
    for process in head.stopping:
        await _end_unstarted(process, store, clock)
    starting = startable([*head.running, *head.waiting], max_processes)
    for process in starting:
        await asyncio.to_thread(launcher.launch, process.process_id)
    return tuple(process.process_id for process in starting)


async def _end_unstarted(process: Process, store: Store, clock: Clock) -> None:
    with contextlib.suppress(Conflict, ProcessNotFound):  # a runner was faster; it sees the request itself
        claim = await store.claim_process(process.process_id, _TO_END_S)
        why = "cancelled while it waited"
        await store.save_process(claim.with_event(clock.now(), "cancelled", Status.CANCELLED, error=why))
