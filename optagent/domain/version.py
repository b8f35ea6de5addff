"""A version of a model in the registry."""

from collections.abc import Mapping
from dataclasses import dataclass, field

CHAMPION = "champion"
CHALLENGER = "challenger"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered bundle. `digest` is the SHA-256 of the bundle's manifest, `created_at` a POSIX time."""

    model_id: str
    version: str
    digest: str
    created_at: float
    aliases: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
