"""Mixture ports: the outside world of the mixtures of an agent, which is light to import."""

from dataclasses import dataclass, field

from optagent.domain.model import ModelVersion
from optagent.loop.context import Ports
from optagent.loop.train.load import load_version
from optagent.ports import Clock, Observations, Registry, Store
from optagent.training.encoding import Schema


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
