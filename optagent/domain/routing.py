"""Routing tables: the versions that answer a model's requests, in one table per model that is replaced as a whole."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from optagent.domain.mixture import MixtureWeights
from optagent.domain.prediction_interval import IntervalThresholds
from optagent.domain.rollout import Rollout, shadow_version, shares
from optagent.errors import InvalidRequest

_HASH_RANGE = float(2**64)


class Arm(StrEnum):
    """The arm drawn for a request, even if the version of the other arm answered in the end."""

    CHAMPION = "champion"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """The assignment of a model's requests to versions.

    A version without a digest, as in tables of an older program, is loaded as the registry has it. With a `mixture` its
    slots answer together where `champion` would answer alone; the champion is the backup.
    """

    model_id: str
    """The model whose requests these are."""
    revision: int
    """The count of the model's tables; a gateway takes no older one."""
    champion: str
    """The version that answers the requests that nothing else is drawn for."""
    candidate: str | None = None
    """The version that answers its `share` of the requests."""
    share: float = 0.0
    """The share of the requests that the candidate answers, from 0 to 1."""
    shadow: str | None = None
    """The version that gets a copy of each request, and whose answers are discarded."""
    warm: tuple[str, ...] = ()
    """Versions that stay loaded, so that a return to them takes one swap."""
    rollout_id: str = ""
    """The rollout that made the table; empty without one. Rows of evidence carry it."""
    state: str = ""
    """The state of that rollout."""
    step: int = 0
    """The step of its ramp, from 0."""
    activate_at: float | None = None
    """The time from which requests follow the table; unset while it is only staged."""
    budget_ms: float = 100.0
    """The milliseconds that the rollout's candidate may take, before another version answers the request."""
    digests: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The digests of the versions' bundles, by version: a gateway loads no other bundle under that number."""
    mixture: MixtureWeights | None = None
    """The weights by which the slots of a mixture answer; unset where one version answers."""
    intervals: IntervalThresholds | None = None
    """The thresholds by which an answer gets its interval or set of labels; unset where the model has none."""

    def __post_init__(self) -> None:
        if self.revision < 1:
            raise InvalidRequest(f"revision must be at least 1, got {self.revision}")
        if not 0 <= self.share < 1:
            raise InvalidRequest(f"share must be from 0 up to, not including, 1, got {self.share}")
        if (self.candidate is None) != (self.share == 0):
            raise InvalidRequest(f"a share of {self.share} needs a candidate, and a candidate a share")
        if self.champion in (self.candidate, self.shadow):
            raise InvalidRequest(f"version {self.champion} is the champion, it cannot be compared with itself")
        if self.mixture is not None and self.rollout_id:
            raise InvalidRequest(f"a mixture does not answer beside rollout {self.rollout_id}: its champion does")

    @property
    def versions(self) -> tuple[str, ...]:
        """All versions that a gateway has to load for this table, each once, the champion first."""
        mixed = () if self.mixture is None else self.mixture.versions
        versions = (self.champion, self.candidate, self.shadow, *self.warm, *mixed)
        return tuple(dict.fromkeys(version for version in versions if version is not None))

    @property
    def bundles(self) -> tuple[tuple[str, str], ...]:
        """All versions of the table, each with the digest of its bundle, "" where that is not known."""
        return tuple((version, self.digests.get(version, "")) for version in self.versions)

    def answers_like(self, other: "RoutingTable") -> bool:
        """True where both tables route alike and differ at most in revision and time."""
        return replace(self, revision=1, activate_at=None) == replace(other, revision=1, activate_at=None)

    def arm(self, key: str) -> Arm:
        """The arm of a sticky key: the same in every process. The candidate keeps its keys when its share grows."""
        if self.candidate is None:
            return Arm.CHAMPION
        digest = hashlib.blake2b(f"{self.rollout_id}:{key}".encode(), digest_size=8).digest()
        return Arm.CANDIDATE if int.from_bytes(digest) / _HASH_RANGE < self.share else Arm.CHAMPION


def table_of(model_id: str, revision: int, champion: str, rollout: Rollout | None = None) -> RoutingTable:
    """The routing table of an active rollout; otherwise that of `champion`, the registry's, alone."""
    if rollout is None or not rollout.state.is_active:
        return RoutingTable(model_id, revision, champion)
    split = shares(rollout)
    (answers, _) = max(split.items(), key=lambda item: (item[1], item[0] == rollout.champion))
    candidate = next((version for version in split if version != answers), None)
    return RoutingTable(
        model_id,
        revision,
        answers,
        candidate,
        split[candidate] if candidate is not None else 0.0,
        shadow_version(rollout),
        (rollout.champion, rollout.candidate),
        rollout.rollout_id,
        str(rollout.state),
        rollout.step,
        budget_ms=rollout.policy.budget_ms,
    )
