"""The verbs of the queue: what is asked for now and runs when there is a place."""

from dataclasses import replace

from optagent.agent.desk import Desk
from optagent.codec import decode, plain
from optagent.domain.command import TuneModel
from optagent.domain.process import Process, Status
from optagent.domain.study import TuningResult
from optagent.errors import InvalidRequest
from optagent.loop.optimize import objectives_of
from optagent.loop.process import Run, run_claimed
from optagent.loop.tune import tune


class SubmitVerbs(Desk):
    """Puts searches into the queue, and runs what stands there."""

    async def submit(self, command: TuneModel) -> Process:
        """Queues a search. Follow it by its id: `processes` lists it, `cancel` takes it back.

        Raises ModelNotFound, and InvalidRequest for objectives that do not fit the model.
        """
        objectives_of(await self._store.model(command.model_id), command)
        process = replace(self._new_process("tune", command.model_id, plain(command)), status=Status.QUEUED)
        await self._store.enqueue_process(process)
        return process

    async def run_queued(self, process_id: str) -> None:
        """Takes a queued process and does its work in this program; how it ended is in the process.

        Raises ProcessNotFound, Conflict where another has taken it, and what its work raises.
        """
        process = await self._store.process(process_id)
        works = {"tune": self._tune_queued}
        if process.kind not in works:
            raise InvalidRequest(f"process {process_id!r} is of kind {process.kind!r}; queued are {sorted(works)}")
        await run_claimed(process_id, works[process.kind], self._store, self._outside.clock)

    async def _tune_queued(self, run: Run) -> TuningResult:
        command = decode(TuneModel, run.process.command)
        spec = await self._store.model(command.model_id)
        return await tune(command, spec, self._outside, run)
