"""Feature proposal: the plan, the evidence for it or the reason for none, and a score for every column."""

import math
from dataclasses import dataclass, field

from optagent.domain.study import Interval
from optagent.errors import InvalidRequest
from optagent.training.plan import FeaturePlan
from optagent.training.steps import AnyStep


@dataclass(frozen=True, slots=True)
class ProposalLimits:
    """Limits of rows, candidates, time and memory; a note says where a limit cut something off."""

    features: int = 20
    candidates: int = 10_000
    rows: int = 10_000
    seconds: float = 900.0
    memory_mb: float = 1024.0

    def __post_init__(self) -> None:
        for name, least in (("features", 1), ("candidates", 1), ("rows", 200), ("seconds", 0.0), ("memory_mb", 0.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise InvalidRequest(f"{name} must be a number of at least {least}, got {value!r}")


@dataclass(frozen=True, slots=True)
class ProposalRules:
    """The rules by which a feature is accepted.

    `alpha` is the probability that a search keeps anything where there is nothing to find, and that of the paired
    interval. A feature must be better than the best shadow in most of `shadow_rounds`, and be found again in the share
    `agreement` of the folds' own searches.
    """

    alpha: float = 0.05
    shadow_rounds: int = 3
    agreement: float = 0.5
    drop_idle: bool = False

    def __post_init__(self) -> None:
        if not 0.001 <= self.alpha < 1:
            raise InvalidRequest(f"alpha must be at least 0.001 and below 1, got {self.alpha!r}")
        if self.shadow_rounds < 0:
            raise InvalidRequest(f"shadow_rounds must be at least 0, got {self.shadow_rounds!r}")
        if not 0 <= self.agreement <= 1:
            raise InvalidRequest(f"agreement must be between 0 and 1, got {self.agreement!r}")


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """One generated feature.

    `p_value` is adjusted for all candidates. `found_again` is the share of the folds' own searches that found this
    feature, or one that ranks rows alike. `importance` is the loss in the metric when the feature is shuffled out of
    fold, None where no fold tested it. `score` is its stability: 1 - drift, times `found_again`. `inflation` is the
    variance inflation among all columns of the plan.
    """

    name: str
    step: AnyStep
    kept: bool
    why: str
    p_value: float
    found_again: float
    drift: float
    score: float
    importance: float | None = None
    inflation: float | None = None


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """One column of the input; `alone` is the AUC, or R², of this column by itself."""

    name: str
    missing: float
    importance: float
    drift: float
    rank_stability: float
    score: float
    alone: float | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class FeatureProposal:
    """The outcome of a proposal. `plan` is the plan to use if `accepted`, and the plan that was tested if not; None
    where no feature was found.

    `improvement` is the paired interval of the search itself: every fold is tested with features that were searched for
    on its training rows alone. Above 0 is better. `judged_rows` is the number of rows of that interval.
    """

    accepted: bool
    why: str
    metric: str
    plan: FeaturePlan | None = None
    improvement: Interval | None = None
    judged_rows: int = 0
    plain_score: float | None = None
    score: float | None = None
    candidates: int = 0
    rounds: int = 0
    features: tuple[FeatureReport, ...] = ()
    columns: tuple[ColumnReport, ...] = ()
    notes: tuple[str, ...] = field(default=())
