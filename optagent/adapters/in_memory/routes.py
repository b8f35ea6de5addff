"""In-memory routes: routing tables in one process, whose gateways listen in one event loop."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

from optagent.adapters.state.process_lease import checked_seconds
from optagent.adapters.state.store_errors import checked_stageable, checked_staged, not_next_revision
from optagent.domain.routing import RoutingTable
from optagent.ports import Clock

_ACKNOWLEDGED_S = 3600.0


@dataclass
class _Acknowledged:
    until: float
    answers: dict[str, str] = field(default_factory=dict)


class InMemoryRoutes:
    """Routes that are lost with their process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._active: dict[str, RoutingTable] = {}
        self._staged: dict[str, RoutingTable] = {}
        self._gateways: dict[str, tuple[float, float]] = {}
        self._acknowledged: dict[tuple[str, int], _Acknowledged] = {}
        self._listeners: set[asyncio.Queue[RoutingTable | None]] = set()

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def active_table(self, model_id: str) -> RoutingTable | None:
        return self._active.get(model_id)

    async def staged_table(self, model_id: str) -> RoutingTable | None:
        return self._staged.get(model_id)

    async def tables(self) -> list[RoutingTable]:
        tables = (*self._active.values(), *self._staged.values())
        return sorted(tables, key=lambda table: (table.model_id, table.revision))

    async def stage(self, table: RoutingTable) -> None:
        active, staged = self._active.get(table.model_id), self._staged.get(table.model_id)
        latest = active.revision if active else 0
        if checked_stageable(table).revision != latest + 1:
            raise not_next_revision(table, latest)
        if staged != table:
            self._acknowledged.pop((table.model_id, table.revision), None)
        self._staged[table.model_id] = table
        self._tell(table)

    async def activate(self, model_id: str, revision: int, at: float) -> RoutingTable:
        staged = checked_staged(model_id, revision, self._staged.get(model_id), at)
        del self._staged[model_id]
        self._active[model_id] = replace(staged, activate_at=at)
        self._tell(self._active[model_id])
        return self._active[model_id]

    async def unstage(self, model_id: str, revision: int) -> None:
        staged = self._staged.get(model_id)
        if staged is not None and staged.revision == revision:
            del self._staged[model_id]
            self._acknowledged.pop((model_id, revision), None)
        self._tell(None)

    async def gateways(self) -> Mapping[str, float]:
        now = self._clock.now()
        return {gateway: last for gateway, (last, until) in self._gateways.items() if now < until}

    async def acknowledgements(self, model_id: str, revision: int) -> Mapping[str, str]:
        acknowledged = self._acknowledged.get((model_id, revision))
        return dict(acknowledged.answers) if acknowledged is not None and self._clock.now() < acknowledged.until else {}

    async def beat(self, gateway: str, alive_s: float) -> None:
        now = self._clock.now()
        self._gateways[gateway] = (now, now + checked_seconds("alive_s", alive_s))

    async def leave(self, gateway: str) -> None:
        self._gateways.pop(gateway, None)

    async def acknowledge(self, gateway: str, model_id: str, revision: int, error: str = "") -> None:
        answers = {**await self.acknowledgements(model_id, revision), gateway: error}
        self._acknowledged[model_id, revision] = _Acknowledged(self._clock.now() + _ACKNOWLEDGED_S, answers)

    async def changes(self) -> AsyncIterator[RoutingTable | None]:
        tables: asyncio.Queue[RoutingTable | None] = asyncio.Queue()
        self._listeners.add(tables)
        try:
            yield None
            while True:
                yield await tables.get()
        finally:
            self._listeners.discard(tables)

    def _tell(self, table: RoutingTable | None) -> None:
        for listener in self._listeners:
            listener.put_nowait(table)
