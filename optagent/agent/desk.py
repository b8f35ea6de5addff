"""What every verb of the agent works with."""

import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Self

from optagent.domain.model import ModelSpec
from optagent.domain.monitoring import Monitoring
from optagent.domain.process import Process, Status
from optagent.errors import InvalidRequest
from optagent.loop.context import Ports
from optagent.ports import Observations, Store


class Desk:
    """The ports that verbs work through, and how refusals are told."""

    def __init__(self, outside: Ports, store: Store, resources: AsyncExitStack, strict: bool = False) -> None:
        self._outside = outside
        self._store = store
        self._resources = resources
        self._strict = strict

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops what this agent started: its Ray cluster, its tracker's thread, its hold on the embedded Redis."""
        await self._resources.aclose()

    def _monitoring(self, spec: ModelSpec) -> Monitoring:
        return spec.monitoring or self._outside.monitoring

    def _observations(self) -> Observations:
        if self._outside.observations is None:
            raise InvalidRequest("this agent keeps no observations: give it `observations`")
        return self._outside.observations

    def _new_process(self, kind: str, model_id: str, command: Mapping[str, Any]) -> Process:
        now = self._outside.clock.now()
        return Process(f"{kind}-{uuid.uuid4().hex[:12]}", kind, model_id, Status.PENDING, now, now, command)
