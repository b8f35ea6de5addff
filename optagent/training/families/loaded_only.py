"""Base of load-only families, which are never searched: those of models made of other models, or trained elsewhere."""

from collections.abc import Mapping
from typing import Any

from optagent.arrays import Rows
from optagent.domain.model import Task
from optagent.domain.space import SearchSpace
from optagent.errors import InvalidRequest
from optagent.training.families.family import Cache, Fit
from optagent.training.problem import Data


class LoadedOnly:
    """A family that can learn no task, so that no search offers it; `why` says what to do instead."""

    name: str
    why: str
    rounds_per_unit = 1
    score_growth = 0.0
    default_rounds = 1
    limits: Mapping[str, tuple[float, float]] = {}

    def supports(self, task: Task) -> bool:
        return False

    def space(self, task: Task) -> SearchSpace:
        return SearchSpace(())

    def defaults(self, task: Task) -> Mapping[str, Any]:
        return {}

    def start(
        self,
        params: Mapping[str, Any],
        data: Data,
        train: Rows,
        valid: Rows | None = None,
        *,
        seed: int = 0,
        threads: int = 1,
        cache: Cache | None = None,
    ) -> Fit:
        raise InvalidRequest(self.why)
