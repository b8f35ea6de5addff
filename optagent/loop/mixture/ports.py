"""Mixture ports: the outside world of the mixtures of an agent, which is light to import."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from optagent.domain.mixture import MixtureRecord
from optagent.domain.model import ModelVersion
from optagent.errors import Conflict
from optagent.loop.context import Ports
from optagent.loop.train.load import load_version
from optagent.ports import Clock, Observations, Registry, Store
from optagent.training.encoding import Schema

TRIES = 10
"""Times that a change of a journal is tried where another process is sooner."""


@dataclass(frozen=True, slots=True)
class MixturePorts:
    """The ports of mixtures, the time between two passes, and the schemas of champions that were read before."""

    store: Store
    registry: Registry
    observations: Observations
    clock: Clock
    every_s: float
    schemas: dict[tuple[str, str], Schema] = field(default_factory=dict)

    @classmethod
    def of(cls, ports: Ports) -> "MixturePorts":
        """The ports of an agent; InvalidRequest where it keeps no observations."""
        return cls(ports.store, ports.registry, ports.require("observations"), ports.clock, ports.mixture_every_s)

    def schema_of(self, champion: ModelVersion) -> Schema:
        """The schema of a version, read once."""
        key = (champion.model_id, champion.digest)
        if key not in self.schemas:
            self.schemas[key] = load_version(champion, self.registry).schema
        return self.schemas[key]


async def change_journal(
    read: Callable[[], Awaitable[MixtureRecord]], change: Callable[[MixtureRecord], MixtureRecord], store: Store
) -> MixtureRecord:
    """The changed journal, read and changed again where another process was sooner; Conflict after ten times."""
    for left in reversed(range(TRIES)):
        record = await read()
        changed = change(record)
        try:
            await store.save_mixture(changed, record)
            return changed
        except Conflict:
            if not left:
                raise
    raise AssertionError("one of the tries returns or raises")
