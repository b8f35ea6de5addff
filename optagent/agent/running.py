"""The verbs of the supervisor that keep things running."""

from optagent.agent.desk import Desk
from optagent.errors import InvalidRequest
from optagent.loop.queue import start_due


class RunningVerbs(Desk):
    """Starts what waits, and says what has to be watched."""

    async def start_queued(self, max_processes: int) -> tuple[str, ...]:
        """Has queued processes started, the most urgent first, so that at most `max_processes` run; answers their ids.

        To be called every second or so; raises Unavailable.
        """
        if self._outside.launcher is None:
            raise InvalidRequest("this agent starts no processes: give it `launcher`")
        return await start_due(self._store, self._outside.launcher, max_processes, self._outside.clock)

    async def served(self) -> tuple[str, ...]:
        """The models that requests are routed for."""
        if self._outside.routes is None:
            raise InvalidRequest("this agent routes no requests: give it `routes`")
        tables = await self._outside.routes.tables()
        return tuple(dict.fromkeys(table.model_id for table in tables if table.activate_at is not None))
