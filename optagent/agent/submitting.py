"""The verbs of the queue: what is asked for now and runs when there is a place."""

from dataclasses import replace
from typing import Any

from optagent.agent.working import Command, WorkingDesk, command_of
from optagent.domain.process import Process, Status
from optagent.loop.process import Run, run_claimed


class SubmitVerbs(WorkingDesk):
    """Puts work into the queue, and does what stands there."""

    async def submit(self, command: Command) -> Process:
        """Queues a search for parameters, an ensemble or features. Follow it by its id: `processes` lists it, `cancel`
        takes it back.

        Raises ModelNotFound, and InvalidRequest for what does not fit the model.
        """
        process = replace(self._new_work(await self._work(command)), status=Status.QUEUED)
        await self._store.enqueue_process(process)
        return process

    async def run_queued(self, process_id: str) -> None:
        """Takes a queued process and does its work in this program; how it ended is in the process.

        Raises ProcessNotFound, Conflict where another has taken it, LeaseLost where another takes it over, and what
        its work raises.
        """
        command_of(await self._store.process(process_id))
        await run_claimed(process_id, self._queued, self._store, self._outside.clock)

    async def _queued(self, run: Run) -> Any:
        work = await self._work(command_of(run.process))
        return await work.do(run)
