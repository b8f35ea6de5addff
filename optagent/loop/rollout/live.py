"""What rollouts work through: the ports, and what is left alone for a while."""

import asyncio
from dataclasses import dataclass, field

from optagent.domain.model import CHAMPION
from optagent.domain.routing import RoutingTable
from optagent.errors import ModelNotFound
from optagent.loop.rollout.activate import Activation, Sleep, TableNotLoaded, swap
from optagent.ports import Clock, Observations, Registry, Routes, Store

_REFUSED_REST_S = 60.0


class Backoff:
    """What is left alone for a while: what takes long, and what was refused. To forget it does no harm."""

    def __init__(self) -> None:
        self._rests: dict[str, tuple[float, str]] = {}
        self._since: dict[str, float] = {}

    def rest(self, what: str, until: float, why: str = "") -> None:
        self._rests[what] = (until, why)

    def rests(self, what: str, now: float) -> str | None:
        """Why something is left alone; None where it is not (any more)."""
        until, why = self._rests.get(what, (now, ""))
        if now < until:
            return why
        self._rests.pop(what, None)
        return None

    def since(self, what: str, now: float) -> float:
        """When something was asked about first."""
        return self._since.setdefault(what, now)


@dataclass(frozen=True, slots=True)
class RolloutContext:
    """The ports that rollouts work through."""

    store: Store
    routes: Routes
    registry: Registry
    observations: Observations
    clock: Clock
    sleep: Sleep = asyncio.sleep
    pace: Backoff = field(default_factory=Backoff)

    async def swap(self, table: RoutingTable, patience_s: float, insist: bool = False) -> Activation:
        """`swap`; a table that gateways refuse is tried again after a minute only, since each try loads versions."""
        asked, now = f"{table.model_id}: {table.rollout_id}: {table.versions}", self.clock.now()
        refused = self.pace.rests(asked, now)
        if refused is not None:
            raise TableNotLoaded(refused, refused=True)
        try:
            return await swap(table, self.routes, self.clock, self.sleep, patience_s, insist)
        except TableNotLoaded as error:
            if error.refused:
                self.pace.rest(asked, now + _REFUSED_REST_S, str(error))
            raise

    async def champion(self, model_id: str) -> str | None:
        """The version that is the registry's champion."""
        try:
            return (await asyncio.to_thread(self.registry.version, model_id, CHAMPION)).version
        except ModelNotFound:
            return None
