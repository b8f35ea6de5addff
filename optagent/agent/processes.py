"""Process verbs: commands are queued, run, followed and cancelled, and the health of the parts is checked."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace

from optagent.agent.acts import current_actor
from optagent.agent.base import AgentBase
from optagent.domain.process import Process, Status
from optagent.domain.queue_order import QueueHead
from optagent.errors import Conflict, OptAgentError
from optagent.loop.commands import Command, check_command, new_process, new_process_id, run_queued_process
from optagent.loop.queue import start_due
from optagent.ports import Routes

OK = "ok"
_ANSWER_S = 5.0
_NAMED = 5  # unreadable records that the health names


class ProcessVerbs(AgentBase):
    """Queues commands and runs them, and reports on processes and on the parts of the product."""

    async def submit(self, command: Command) -> Process:
        """Queues a command: a search for parameters, features or an ensemble, an optimization, or a backtest.

        Follow it by its id: `processes` lists it, `cancel` takes it back. Raises ModelNotFound, and InvalidRequest
        where the command does not fit the model, and Busy where too many wait already (OPT_AGENT_MAX_QUEUED). A
        repeated request under one idempotency key gets the process of the first.
        """
        process_id = new_process_id(command, current_actor())
        return await self._perform_command(command, process_id, self._submit(command, process_id))

    async def run_queued(self, process_id: str) -> None:
        """Takes a queued process and does its work in this program; the stored process holds its end.

        Raises ProcessNotFound, Conflict where another runner has taken it, LeaseLost where another takes it over, and
        the errors of its work.
        """
        await run_queued_process(process_id, self._ports)

    async def start_queued(self, max_processes: int) -> tuple[str, ...]:
        """Starts queued processes, the most urgent first, so that at most `max_processes` run; answers their ids.

        To be called every second or so; raises Unavailable.
        """
        ports = self._ports
        return await start_due(ports.store, ports.require("launcher"), max_processes, ports.clock)

    async def process(self, process_id: str) -> Process:
        """A process of this or of any other agent on the same store, without its holder's secret.

        Raises ProcessNotFound.
        """
        return _without_holder(await self._ports.store.process(process_id))

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        """Processes of all models or of one, the newest first, without their holders' secrets."""
        return list(map(_without_holder, await self._ports.store.processes(model_id, limit)))

    async def unended_processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        """Processes of all models or of one that have not ended, the newest first, however many ended since."""
        return list(map(_without_holder, await self._ports.store.unended_processes(model_id, limit)))

    async def queue_head(self, limit: int = 100) -> QueueHead:
        """All processes that run, and the first `limit` of those that wait, in the order in which they will start."""
        head = await self._ports.store.queue_head(limit)
        running, waiting, stopping = (
            tuple(map(_without_holder, processes)) for processes in (head.running, head.waiting, head.stopping)
        )
        return QueueHead(running, waiting, stopping)

    async def queue_places(self, process_ids: Sequence[str]) -> dict[str, int]:
        """The places in the queue of those of the processes that wait, from 1."""
        return await self._ports.store.queue_places(process_ids)

    async def cancel(self, process_id: str) -> None:
        """Asks a running process to stop; it ends as cancelled within a few seconds."""
        await self._perform("process.cancel", process_id, self._ports.store.request_cancel(process_id))

    async def served(self) -> tuple[str, ...]:
        """The models that requests are routed for."""
        routes: Routes = self._ports.require("routes")
        tables = await routes.tables()
        return tuple(dict.fromkeys(table.model_id for table in tables if table.activate_at is not None))

    async def health(self) -> dict[str, str]:
        """The state of each part that this agent needs, "ok" or the error; within 5 s, and never an exception.

        A part `records` names stored records that cannot be read, where there are any: they hold up nothing else.
        """
        ports = self._ports
        checks: dict[str, Awaitable[None]] = {
            "redis": ports.store.check(),
            "mlflow": asyncio.to_thread(ports.tracker.check),
        }
        if ports.observations is not None:
            checks["observations"] = asyncio.to_thread(ports.observations.check)
        checks["records"] = self._check_records()
        states = dict(zip(checks, await asyncio.gather(*map(_describe_state, checks.values())), strict=True))
        if states["redis"] != OK or states["records"] == OK:
            del states["records"]
        return states

    async def _check_records(self) -> None:
        await self._ports.store.models()  # the others are those that were met
        if sentences := self._ports.store.unreadable_records():
            more = f"; and {len(sentences) - _NAMED} more" if len(sentences) > _NAMED else ""
            raise OptAgentError("; ".join(sentences[:_NAMED]) + more)

    async def _submit(self, command: Command, process_id: str) -> Process:
        job = await check_command(command, self._ports)
        process = replace(new_process(job, process_id, self._ports), status=Status.QUEUED)
        try:
            await self._ports.store.enqueue_process(process, self._ports.max_queued)
        except Conflict:
            if not current_actor().act_id:
                raise
            return _without_holder(await self._ports.store.process(process_id))
        return process


def _without_holder(process: Process) -> Process:
    """The process as people may see it: the name of its holder proves who may write it."""
    return replace(process, holder="")


async def _describe_state(check: Awaitable[None]) -> str:
    try:
        await asyncio.wait_for(check, _ANSWER_S)
    except TimeoutError:
        return f"does not answer within {_ANSWER_S:g} s"
    except Exception as error:
        return str(error) or type(error).__name__
    return OK
