"""Vital signs: the figures of all models and of the system at one moment, for the tools that draw and alert."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from optagent.domain.fleet import LatestProcess, ModelStanding
from optagent.domain.mixture_status import MixtureStatus


@dataclass(frozen=True, slots=True)
class StoreMemory:
    """The memory of the store's server in bytes: what it uses, and the most it may use, 0 for no limit."""

    used: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class VitalSigns:
    """The models with their newest points, the mixtures that answer, and the processes that run or wait.

    `audit_entries` is the number of the newest link of the audit log.
    """

    at: float
    models: tuple[ModelStanding, ...] = ()
    mixtures: Mapping[str, MixtureStatus] = field(default_factory=dict)
    running: tuple[LatestProcess, ...] = ()
    waiting: int = 0
    audit_entries: int = 0
    memory: StoreMemory = StoreMemory()
