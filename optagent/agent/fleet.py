"""Fleet verbs: all models side by side, and the quality of one over time."""

from collections.abc import Collection

from optagent.agent.base import AgentBase
from optagent.domain.fleet import Fleet, FleetOrder
from optagent.domain.quality_point import MOST_POINTS, QualityPoint
from optagent.domain.vital_signs import VitalSigns
from optagent.errors import InvalidRequest
from optagent.loop.fleet import FleetAsk, read_fleet
from optagent.loop.vital_signs import read_vital_signs


class FleetVerbs(AgentBase):
    """Shows how all models are doing."""

    async def fleet(
        self,
        query: str = "",
        order: str = "health",
        start: int = 0,
        limit: int = 25,
        days: float = 30.0,
        model_ids: Collection[str] | None = None,
    ) -> Fleet:
        """A page of all models with their health, what answers for them, alerts, processes, and quality over `days`.

        Each word of `query` is part of a model's id, or a health, task, or what answers. `order` is health, model,
        drift or change; `model_ids` are the only models to answer. Raises InvalidRequest and Unavailable.
        """
        if order not in list(FleetOrder):
            raise InvalidRequest(f"order {order!r}: one of {[str(known) for known in FleetOrder]}")
        return await read_fleet(FleetAsk(query, FleetOrder(order), start, limit, days, model_ids), self._ports)

    async def quality(self, model_id: str, since: float = 0.0, limit: int = MOST_POINTS) -> list[QualityPoint]:
        """The points of the analyzed windows of a model that end at `since` (POSIX seconds) or later, the oldest first;
        of more than `limit`, the newest. Raises ModelNotFound."""
        await self._ports.store.model(model_id)
        return (await self._ports.store.quality([model_id], since, limit))[model_id]

    async def vital_signs(self) -> VitalSigns:
        """The figures of all models, mixtures and processes now, as Prometheus gets them. Raises Unavailable."""
        return await read_vital_signs(self._ports)
