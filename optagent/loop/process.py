"""Process run: work that is stored before it starts, leased while it runs, and ended exactly once."""

import asyncio
import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from optagent.codec import plain
from optagent.domain.deadline import Deadline
from optagent.domain.process import Process, StageProgress, Status
from optagent.domain.study import Progress
from optagent.errors import Cancelled, Conflict, OptAgentError, ProcessNotFound, Unavailable
from optagent.ports import Clock, Store
from optagent.retry import retry_unavailable
from optagent.secret_text import hide_secrets
from optagent.training.time_shares import finish_seconds

LOG = logging.getLogger("optagent.process")
LEASE_S = 15.0
BEAT_S = 1.0
_LAST_PAUSES_S = (1.0, 2.0, 3.0, 4.0)  # between the tries of the last write

OnRunProgress = Callable[[Progress | StageProgress], None]  # of stages, of parts that are done, of a search


class Run:
    """A process as its own work sees it. `report`, `count_done` and `cancelled` may be called from any thread.

    Once `is_lost` is True, another runner has the process: this one stops, and leaves all writing to the other. The
    `deadline` is the command's, in seconds of `monotonic`; a runner that takes over has the whole limit again.
    """

    def __init__(
        self,
        process: Process,
        store: Store,
        clock: Clock,
        on_progress: OnRunProgress,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.process = process
        self.is_lost = False
        self.deadline = Deadline()
        self.end_aside_s = 0.0
        self._monotonic = monotonic
        self._began_at = monotonic()
        self._store = store
        self._clock = clock
        self._on_progress = on_progress
        self._lock = asyncio.Lock()
        self._progress: Progress | None = None
        self._stop = threading.Event()
        self._is_over = False

    def report(self, progress: Progress) -> None:
        """Keeps the newest progress; it is stored with the next heartbeat."""
        self._progress = progress
        self._on_progress(progress)

    def count_done(self, done: int = 0, total: int | None = None, unit: str = "") -> None:
        """Tells the present stage, and how many of its parts are done; this is shown, and not stored."""
        elapsed_s = self._monotonic() - self._began_at
        self._on_progress(StageProgress(self.process.stage or "", done, total, unit, elapsed_s))

    def is_cancelled(self) -> bool:
        """True once the process was asked to stop, or is lost."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Makes `cancelled` answer True."""
        self._stop.set()

    def limit_time(self, limit_s: float | None, began_at: float | None = None) -> None:
        """Sets the deadline of a command that began at `began_at`, None for now; no limit is no deadline."""
        self.deadline = Deadline.after(limit_s, self._monotonic() if began_at is None else began_at)

    def left_s(self, end_s: float | None = None) -> float:
        """The seconds that are left until the deadline; infinite without one.

        With `end_s`, only so much is set aside for the end of the command.
        """
        spare_s = 0.0 if end_s is None else max(0.0, self.end_aside_s - end_s)
        return self.deadline.earlier_by(-spare_s).left_s(self._monotonic())

    def set_end_aside(self, more_s: float = 0.0) -> None:
        """Moves the deadline forward by what the end of the command will take, and `more_s`."""
        if self.deadline.is_set:
            spent_s = self.deadline.limit_s - self.left_s()
            self.end_aside_s = finish_seconds(spent_s, self.deadline.limit_s) + more_s
            self.deadline = self.deadline.earlier_by(self.end_aside_s)

    async def stage(self, name: str) -> None:
        """Enters a stage; raises Cancelled where the process was asked to stop."""
        if self.is_cancelled():
            raise Cancelled(f"process {self.process.process_id} was cancelled before {name}")
        LOG.info("process %s: %s", self.process.process_id, name)
        async with self._lock:
            self.process = self.process.with_event(self._clock.now(), "stage", stage=name)
            await self._save()
        self.count_done()

    async def keep(self, name: str, output: Any) -> None:
        """Stores the output of a stage as plain data: a runner that takes over finds it in `kept`."""
        async with self._lock:
            self.process = self.process.with_stage_output(name, plain(output))
            await self._save()

    async def forget(self, names: Collection[str]) -> None:
        """Drops the outputs of these stages, where they no longer hold."""
        async with self._lock:
            outputs = {name: output for name, output in self.process.kept.items() if name not in names}
            self.process = replace(self.process, kept=outputs)
            await self._save()

    @property
    def stage_outputs(self) -> Mapping[str, Any]:
        """The outputs of finished stages, by name."""
        return self.process.kept

    async def end(self, status: Status, **changes: Any) -> None:
        """Writes the end of the process; a store that is down for a moment is waited for."""
        LOG.info("process %s: %s", self.process.process_id, status)
        async with self._lock:
            progress = dataclasses.asdict(self._progress) if self._progress else self.process.progress
            self.process = self.process.with_event(
                self._clock.now(), str(status), status=status, progress=progress, **changes
            )
            await retry_unavailable(self._save, _LAST_PAUSES_S)

    async def leave(self, why: str) -> None:
        """Gives the process up without an end: once the lease has run out, another runner goes on."""
        LOG.warning("process %s waits for another runner: %s", self.process.process_id, why)
        async with self._lock:
            self.process = self.process.with_event(self._clock.now(), "left", error=why)
            await self._save()

    def end_beats(self, beats: asyncio.Task[None]) -> None:
        """Ends the task of `beat`, with the next beat at the latest.

        A cancellation can be lost: `asyncio.wait_for`, by which redis-py sends, swallows one that arrives as its call
        ends (Python 3.11, https://github.com/python/cpython/issues/86296).
        """
        self._is_over = True
        beats.cancel()

    async def beat(self) -> None:
        """Renews the lease, stores new progress and looks for a request to stop, each second until it is cancelled.

        A store that is down is tried again at the next beat. Raises what `_write` does where the process is lost.
        """
        stored: Progress | None = None
        while not self._is_over:
            await asyncio.sleep(BEAT_S)
            try:
                await self._write(self._store.renew_lease(self.process, LEASE_S))
                newest = self._progress
                if newest is not None and newest is not stored:
                    async with self._lock:
                        self.process = self.process.with_progress(self._clock.now(), dataclasses.asdict(newest))
                        await self._save()
                    stored = newest
                if await self._store.cancel_requested(self.process.process_id):
                    self.stop()
            except (Conflict, ProcessNotFound):
                raise
            except OptAgentError as error:
                LOG.warning("process %s goes on without its store: %s", self.process.process_id, error)

    async def _save(self) -> None:
        await self._write(self._store.save_process(self.process))

    async def _write(self, write: Awaitable[None]) -> None:
        """Raises Conflict or ProcessNotFound, and stops the run, where the process is no longer its runner's."""
        try:
            await write
        except (Conflict, ProcessNotFound):
            self.is_lost = True
            self.stop()
            raise


async def run_claimed(process_id: str, work: Callable[[Run], Awaitable[Any]], store: Store, clock: Clock) -> Any:
    """Takes a queued process, and goes on as `run_created` does.

    Raises ProcessNotFound, Conflict where another runner has taken it, and LeaseLost within a beat of being taken over.
    A process that was asked to stop while it waited ends as cancelled before its first stage.
    """
    process = await store.claim_process(process_id, LEASE_S)
    return await run_created(process, work, store, clock)


async def run_created(
    process: Process,
    work: Callable[[Run], Awaitable[Any]],
    store: Store,
    clock: Clock,
    on_progress: OnRunProgress = lambda progress: None,
) -> Any:
    """Does the work of a process that the caller holds, and stores its end; passes its answer or its error on."""
    run = Run(process.with_event(clock.now(), "started", status=Status.RUNNING, error=None), store, clock, on_progress)
    await store.save_process(run.process)
    if await store.cancel_requested(process.process_id):
        run.stop()
    try:
        result = await _work_while_held(run, work)
    except BaseException as error:
        run.stop()  # for work that still runs in a thread
        if not run.is_lost:
            await _store_end(run, error)
        raise
    await run.end(Status.SUCCEEDED, result=plain(result))
    return result


async def _work_while_held(run: Run, work: Callable[[Run], Awaitable[Any]]) -> Any:
    """The answer or the error of `work`, which is cancelled where a beat finds the process lost; the loss is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            beats = tasks.create_task(run.beat())
            try:
                result = await work(run)
            finally:
                run.end_beats(beats)
        return result
    except BaseExceptionGroup as errors:
        error = errors.exceptions[0]  # that of the beat comes first: the work may have failed because of it
    raise error


async def _store_end(run: Run, error: BaseException) -> None:
    status, why = _end_status(error)
    with contextlib.suppress(OptAgentError):  # the error of the work matters more
        if isinstance(error, Unavailable) and run.process.may_start_again:
            await run.leave(why)
        else:
            await run.end(status, error=why)


def _end_status(error: BaseException) -> tuple[Status, str]:
    if isinstance(error, Cancelled | asyncio.CancelledError | KeyboardInterrupt):
        return Status.CANCELLED, str(error) or "stopped by its caller"
    message = str(error) if isinstance(error, OptAgentError) else f"{type(error).__name__}: {error}"
    return Status.FAILED, hide_secrets(message)
