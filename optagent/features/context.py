"""Context of one feature search: the problem, the model, and the limits of time and memory."""

from collections.abc import Callable
from dataclasses import dataclass

from optagent.analysis.bootstrap import Resampling
from optagent.features.proposal import ProposalLimits, ProposalRules
from optagent.features.refits import Learner
from optagent.training.metrics import Metric
from optagent.training.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSearchContext:
    """The inputs that every step of a search reads.

    `flexible` is true for a family that learns any function of one column by itself; `late` returns True once the time
    is up.
    """

    problem: Problem
    learner: Learner
    metric: Metric
    how: Resampling
    limits: ProposalLimits
    rules: ProposalRules
    seed: int
    dates: frozenset[str]
    flexible: bool
    late: Callable[[], bool]

    @property
    def cells(self) -> int:
        """The number of 32-bit values that fit in the memory limit."""
        return int(self.limits.memory_mb * 2**20 / 4)
