"""Agent base: the ports that every verb works through, and how a refused request is answered."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self, TypeVar

from optagent.domain.study import Progress
from optagent.errors import OptAgentError
from optagent.loop.commands import Command, run_command
from optagent.loop.context import Ports

Result = TypeVar("Result")


class AgentBase:
    """Holds the ports of an agent, and closes what was started for it."""

    def __init__(self, ports: Ports, resources: AsyncExitStack, strict: bool = False) -> None:
        self._ports = ports
        self._resources = resources
        self._strict = strict

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops what this agent started: its Ray cluster, its tracker's thread, its hold on the embedded Redis."""
        await self._resources.aclose()

    async def _answer(self, work: Awaitable[Result], refuse: Callable[[str], Result]) -> Result:
        """The result of `work`; an error becomes a result by `refuse`, or is raised where the agent is strict."""
        try:
            return await work
        except OptAgentError as error:
            if self._strict:
                raise
            return refuse(str(error))

    async def _run(self, command: Command, on_progress: Callable[[Progress], None] = lambda progress: None) -> Any:
        """Runs a command now, in this program, as a process of its own."""
        return await run_command(command, self._ports, on_progress)
