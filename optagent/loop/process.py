"""Runs work as a process: stored before it starts, leased while it runs, ended exactly once."""

import asyncio
import contextlib
import dataclasses
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from optagent.codec import plain
from optagent.domain.process import Process, Status
from optagent.domain.study import Progress
from optagent.errors import Cancelled, OptAgentError, Unavailable
from optagent.ports import Clock, Store

LOG = logging.getLogger("optagent.process")
LEASE_S = 15.0
BEAT_S = 1.0
_LAST_SAVE_TRIES = 5


class Run:
    """The side of a process that its work sees. `report` and `cancelled` may be called from any thread."""

    def __init__(self, process: Process, store: Store, clock: Clock, on_progress: Callable[[Progress], None]) -> None:
        self.process = process
        self._store = store
        self._clock = clock
        self._on_progress = on_progress
        self._lock = asyncio.Lock()
        self._progress: Progress | None = None
        self._stop = threading.Event()

    def report(self, progress: Progress) -> None:
        """Keeps the newest progress; it is stored with the next heartbeat."""
        self._progress = progress
        self._on_progress(progress)

    def cancelled(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Makes `cancelled` answer True."""
        self._stop.set()

    async def stage(self, name: str) -> None:
        """Enters a stage; raises Cancelled where the process was asked to stop."""
        if self.cancelled():
            raise Cancelled(f"process {self.process.process_id} was cancelled before {name}")
        LOG.info("process %s: %s", self.process.process_id, name)
        async with self._lock:
            self.process = self.process.moved(self._clock.now(), "stage", stage=name)
            await self._store.save_process(self.process)

    async def keep(self, name: str, output: Any) -> None:
        """Stores what a stage came to, as plain data: a runner that takes over finds it in `kept`."""
        async with self._lock:
            self.process = self.process.keeping(name, plain(output))
            await self._store.save_process(self.process)

    async def forget(self, names: Collection[str]) -> None:
        """Drops what stages came to, where it no longer holds."""
        async with self._lock:
            kept = {name: output for name, output in self.process.kept.items() if name not in names}
            self.process = replace(self.process, kept=kept)
            await self._store.save_process(self.process)

    @property
    def kept(self) -> Mapping[str, Any]:
        """What finished stages came to, by name."""
        return self.process.kept

    async def end(self, status: Status, **changes: Any) -> None:
        """The last write. A store that is away for a moment is waited for."""
        LOG.info("process %s: %s", self.process.process_id, status)
        async with self._lock:
            progress = dataclasses.asdict(self._progress) if self._progress else self.process.progress
            self.process = self.process.moved(
                self._clock.now(), str(status), status=status, progress=progress, **changes
            )
            for attempt in range(1, _LAST_SAVE_TRIES + 1):
                try:
                    return await self._store.save_process(self.process)
                except Unavailable:
                    if attempt == _LAST_SAVE_TRIES:
                        raise
                    await asyncio.sleep(attempt)

    async def leave(self, why: str) -> None:
        """Not an end: once the lease has run out, another runner goes on."""
        LOG.warning("process %s waits for another runner: %s", self.process.process_id, why)
        async with self._lock:
            self.process = self.process.moved(self._clock.now(), "left", error=why)
            await self._store.save_process(self.process)

    async def beat(self) -> None:
        """Until cancelled: renews the lease, stores new progress, looks for a request to stop."""
        stored: Progress | None = None
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self._store.renew_lease(self.process, LEASE_S)
                newest = self._progress
                if newest is not None and newest is not stored:
                    async with self._lock:
                        self.process = self.process.progressed(self._clock.now(), dataclasses.asdict(newest))
                        await self._store.save_process(self.process)
                    stored = newest
                if await self._store.cancel_requested(self.process.process_id):
                    self.stop()
            except OptAgentError as error:
                LOG.warning("process %s goes on without its store: %s", self.process.process_id, error)


async def run_process(
    process: Process,
    work: Callable[[Run], Awaitable[Any]],
    store: Store,
    clock: Clock,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Any:
    """Stores `process`, does `work`, and stores how it ended; the answer or the error of `work` is passed on."""
    await store.create_process(process, LEASE_S)
    return await _done(process, work, store, clock, on_progress)


async def run_claimed(process_id: str, work: Callable[[Run], Awaitable[Any]], store: Store, clock: Clock) -> Any:
    """Takes a queued process, and goes on as `run_process`.

    Raises ProcessNotFound, and Conflict where another has taken it. One that was asked to stop while it waited ends as
    cancelled before its first stage.
    """
    process = await store.claim_process(process_id, LEASE_S)
    return await _done(process, work, store, clock, lambda progress: None)


async def _done(
    process: Process,
    work: Callable[[Run], Awaitable[Any]],
    store: Store,
    clock: Clock,
    on_progress: Callable[[Progress], None],
) -> Any:
    """The answer of a process that is held by the caller, from its start to its end."""
    run = Run(process.moved(clock.now(), "started", status=Status.RUNNING, error=None), store, clock, on_progress)
    await store.save_process(run.process)
    if await store.cancel_requested(process.process_id):
        run.stop()
    beating = asyncio.create_task(run.beat())
    try:
        result = await work(run)
    except BaseException as error:
        await _stop(beating)
        run.stop()  # work that still runs in a thread sees it
        status, why = _ended_by(error)
        with contextlib.suppress(OptAgentError):  # the error of the work matters more
            if isinstance(error, Unavailable) and run.process.may_start_again:
                await run.leave(why)
            else:
                await run.end(status, error=why)
        raise
    await _stop(beating)
    await run.end(Status.SUCCEEDED, result=plain(result))
    return result


def _ended_by(error: BaseException) -> tuple[Status, str]:
    if isinstance(error, Cancelled | asyncio.CancelledError | KeyboardInterrupt):
        return Status.CANCELLED, str(error) or "stopped by its caller"
    return Status.FAILED, str(error) if isinstance(error, OptAgentError) else f"{type(error).__name__}: {error}"


async def _stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
