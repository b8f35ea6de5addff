"""Agent base: the ports that every verb works through, and how a refused request is answered."""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Self, TypeVar

from optagent.agent.acts import ActRecorder, current_actor
from optagent.agent.command_start import command_start
from optagent.codec import plain
from optagent.errors import OptAgentError
from optagent.loop.commands import Command, begin_command, new_process_id, run_begun, target_of
from optagent.loop.context import Ports
from optagent.loop.process import OnRunProgress

Result = TypeVar("Result")


class AgentBase:
    """Holds the ports of an agent, and closes what was started for it."""

    def __init__(self, ports: Ports, resources: AsyncExitStack, strict: bool = False) -> None:
        self._ports = ports
        self._resources = resources
        self._strict = strict
        self._acts = ActRecorder(ports.store, ports.clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Waits for changes under way and their entries in the audit log, then stops what this agent started: its Ray
        cluster, its tracker's thread, its hold on the embedded Redis."""
        await self._acts.close()
        await self._resources.aclose()

    async def _answer(self, work: Awaitable[Result], refuse: Callable[[str], Result]) -> Result:
        """The result of `work`; an error becomes a result by `refuse`, or is raised where the agent is strict."""
        try:
            return await work
        except OptAgentError as error:
            if self._strict:
                raise
            return refuse(str(error))

    async def _run(self, command: Command, on_progress: OnRunProgress = lambda progress: None) -> Any:
        """Runs a command now, in this program, as a process of its own."""
        process_id, began_at = new_process_id(command, current_actor()), command_start()
        work = begin_command(command, process_id, self._ports)
        job, process = await self._perform_command(command, process_id, work)
        return await run_begun(job, process, self._ports, on_progress, began_at)

    async def _perform(self, action: str, target: str, work: Coroutine[Any, Any, Result], **detail: Any) -> Result:
        """The answer of a change, which has an entry in the audit log, whether it was done or refused."""
        return await self._acts.perform(action, target, work, detail)

    async def _perform_command(self, command: Command, process_id: str, work: Coroutine[Any, Any, Result]) -> Result:
        """The answer of `work`, which makes the process of a command."""
        detail = {"command": plain(command), "process_id": process_id}
        return await self._acts.perform("process.submit", target_of(command), work, detail)
