"""Rollout context: the ports that rollouts work through, and a back-off for slow looks and refused tables."""

import asyncio
from dataclasses import dataclass, field, replace

from optagent.domain.prediction_interval import IntervalThresholds
from optagent.domain.routing import RoutingTable
from optagent.errors import ModelNotFound, Unavailable
from optagent.loop.champion import champion_of
from optagent.loop.context import Ports
from optagent.loop.mixture.ports import MixturePorts
from optagent.loop.rollout.activate import Activation, Sleep, TableNotLoaded, activate_table
from optagent.ports import Clock, Observations, Registry, Routes, Store
from optagent.training.encoding import Schema

_REFUSED_REST_S = 60.0


class Backoff:
    """Subjects that are left alone for a while. It is kept in memory only: losing it costs one try too early."""

    def __init__(self) -> None:
        self._rests: dict[str, tuple[float, str]] = {}
        self._since: dict[str, float] = {}

    def rest(self, subject: str, until: float, reason: str = "") -> None:
        """Leaves a subject alone until then."""
        self._rests[subject] = (until, reason)

    def rest_reason(self, subject: str, now: float) -> str | None:
        """The reason why a subject is left alone; None where it is not (any more)."""
        until, reason = self._rests.get(subject, (now, ""))
        if now < until:
            return reason
        self._rests.pop(subject, None)
        return None

    def first_seen(self, subject: str, now: float) -> float:
        """The time at which a subject was asked about first."""
        return self._since.setdefault(subject, now)


@dataclass(frozen=True, slots=True)
class RolloutContext:
    """All the ports that rollouts need, and the back-off of the process that advances them.

    `intervals` are the thresholds that answer for each model, None for none; a model that is not there keeps those of
    its active table.
    """

    store: Store
    routes: Routes
    registry: Registry
    observations: Observations
    clock: Clock
    sleep: Sleep = asyncio.sleep
    backoff: Backoff = field(default_factory=Backoff)
    mixture_every_s: float = 60.0
    schemas: dict[tuple[str, str], Schema] = field(default_factory=dict)
    intervals: dict[str, IntervalThresholds | None] = field(default_factory=dict)

    @property
    def mixtures(self) -> MixturePorts:
        """The ports of mixtures."""
        return MixturePorts(
            self.store, self.registry, self.observations, self.clock, self.mixture_every_s, self.schemas
        )

    @classmethod
    def of(cls, ports: Ports) -> "RolloutContext":
        """A context with a new back-off; InvalidRequest where the agent routes no requests or keeps no observations."""
        routes, observations = ports.require("routes"), ports.require("observations")
        every_s = ports.mixture_every_s
        return cls(ports.store, routes, ports.registry, observations, ports.clock, mixture_every_s=every_s)

    async def activate(self, table: RoutingTable, patience_s: float, insist: bool = False) -> Activation:
        """`activate_table`; a refused table is tried again after a minute only: each try loads versions."""
        table = await self._add_intervals(await self._add_digests(table))
        subject, now = f"{table.model_id}: {table.rollout_id}: {table.bundles}", self.clock.now()
        refusal = self.backoff.rest_reason(subject, now)
        if refusal is not None:
            raise TableNotLoaded(refusal, refused=True)
        try:
            return await activate_table(table, self.routes, self.clock, self.sleep, patience_s, insist)
        except TableNotLoaded as error:
            if error.refused:
                self.backoff.rest(subject, now + _REFUSED_REST_S, str(error))
            raise

    async def champion(self, model_id: str) -> str | None:
        """The version that is the registry's champion."""
        version = await asyncio.to_thread(champion_of, model_id, self.registry)
        return None if version is None else version.version

    async def _add_digests(self, table: RoutingTable) -> RoutingTable:
        """The table with the digest of each version: its own, else that of the tables of before, else the registry's.

        The tables of before come first, so that a rollback does not wait for a registry that is away, and the versions
        of a rollout stay the bundles that they were. A digest that nobody can tell is left out.
        """
        if all(digest for _, digest in table.bundles):
            return table
        stored = await self.routes.active_table(table.model_id), await self.routes.staged_table(table.model_id)
        digests = {version: digest for other in stored[::-1] if other is not None for version, digest in other.bundles}
        digests.update(table.digests)
        for version, digest in table.bundles:
            if not digest and not digests.get(version):
                digests[version] = await self._ask_digest(table.model_id, version)
        return replace(table, digests={version: digests[version] for version in table.versions if digests.get(version)})

    async def _add_intervals(self, table: RoutingTable) -> RoutingTable:
        if table.model_id in self.intervals:
            return replace(table, intervals=self.intervals[table.model_id])
        active = await self.routes.active_table(table.model_id)
        return table if active is None else replace(table, intervals=active.intervals)

    async def _ask_digest(self, model_id: str, version: str) -> str:
        try:
            return (await asyncio.to_thread(self.registry.version, model_id, version)).digest
        except (ModelNotFound, Unavailable):
            return ""
