"""What one proposal works with: the problem, the model, and what may be spent."""

from collections.abc import Callable
from dataclasses import dataclass

from optagent.analysis.bootstrap import Resampling
from optagent.features.proposal import ProposalLimits, ProposalRules
from optagent.features.refits import Learner
from optagent.training.metrics import Metric
from optagent.training.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSearchContext:
    """`flexible` is a family that learns any function of one column by itself; `late` says when the time is up."""

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
        """32-bit numbers that fit the memory."""
        return int(self.limits.memory_mb * 2**20 / 4)
