"""Serving budget of an ensemble: limits of latency, size and number of models, beyond which an ensemble is
infeasible."""

from dataclasses import dataclass

import numpy as np

from optagent.arrays import Mask
from optagent.ensembles.members import Members
from optagent.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class EnsembleBudget:
    """Limits, where None is no limit. Members answer one after the other, so that latencies add up, as sizes do."""

    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    max_models: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_latency_ms", "max_size_mb", "max_models"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise InvalidRequest(f"{name} must be above 0, got {limit}")

    def check(self, members: Members) -> None:
        """Raises InvalidRequest where a limit is on unknown costs, and where no single model meets it."""
        for unit, limit, costs in self._limits(members):
            if costs is None:
                raise InvalidRequest(f"a budget of {unit} needs the {unit} of each model")
            if limit < min(costs):
                least = members.names[int(np.argmin(costs))]
                raise InvalidRequest(f"no model meets {limit:g} {unit}: the least is {min(costs):g}, of {least}")
        if not self.admits(members, np.zeros(len(members), dtype=bool)).any():
            raise InvalidRequest("no single model meets all limits of the budget")

    def admits(self, members: Members, chosen: Mask) -> Mask:
        """(models,): true for members that fit into an ensemble with those chosen already."""
        allowed = np.ones(len(members), dtype=bool)
        for _, limit, costs in self._limits(members):
            each = np.asarray(costs)
            allowed &= each + each[chosen].sum() <= limit * (1 + 1e-12)
        if self.max_models is not None and chosen.sum() >= self.max_models:
            allowed[:] = False
        return allowed | chosen

    def holds_all(self, members: Members) -> bool:
        """True where an ensemble of all members meets the budget."""
        within = all(sum(costs or ()) <= limit for _, limit, costs in self._limits(members))
        return within and (self.max_models is None or len(members) <= self.max_models)

    def _limits(self, members: Members) -> list[tuple[str, float, tuple[float, ...] | None]]:
        limits = (
            ("latency_ms", self.max_latency_ms, members.latency_ms),
            ("size_mb", self.max_size_mb, members.size_mb),
        )
        return [(unit, limit, costs) for unit, limit, costs in limits if limit is not None]
