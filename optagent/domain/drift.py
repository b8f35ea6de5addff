"""What was found when live rows were compared with the reference."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from optagent.domain.study import Interval


class DriftStatus(StrEnum):
    """`SUSPECTED`: significant in this window, not in two in a row nor beyond doubt. `UNKNOWN`: nothing to compare."""

    STABLE = "stable"
    SUSPECTED = "suspected"
    DRIFTED = "drifted"
    UNKNOWN = "unknown"


class DriftCheck(StrEnum):
    """What of a column is tested: its values, how many are missing, how many are of categories never seen."""

    VALUES = "values"
    MISSING = "missing values"
    UNSEEN = "unseen categories"


@dataclass(frozen=True, slots=True)
class DriftTest:
    """One test of one column.

    `effect` is between 0 and 1: the Kolmogorov-Smirnov distance of ordered values, the total variation of categories,
    the difference of the shares of missing or unseen ones. `p_value` is that of this window, `persistent_p_value` that
    of this and the one before; the adjusted ones take all columns into account (Benjamini and Hochberg), and are what
    the level is held against.
    """

    check: DriftCheck
    status: DriftStatus
    effect: float
    p_value: float
    adjusted_p_value: float
    persistent_p_value: float | None = None
    adjusted_persistent_p_value: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """A column in the reference or in a window. `outside` is the share of values beyond the reference's range.

    `shares` are those of the categories among the values that are not missing, the most frequent ones.
    """

    rows: int
    missing: float
    unseen: float = 0.0
    outside: float = 0.0
    mean: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column, then and now; `effect` and `status` are those of its most serious test.

    `weight` is its share of all importance. `effective_rows` is how many independent rows those of the window are
    worth. The distances are for people and never alarm: `psi` and `jensen_shannon` over tenths of the reference (or
    categories), `wasserstein` in standard deviations of the reference, `cramers_v` of categories.
    """

    name: str
    kind: str
    status: DriftStatus
    effect: float
    weight: float
    then: Summary
    now: Summary
    effective_rows: float = 0.0
    tests: tuple[DriftTest, ...] = ()
    psi: float | None = None
    jensen_shannon: float | None = None
    wasserstein: float | None = None
    cramers_v: float | None = None


@dataclass(frozen=True, slots=True)
class DriftReport:
    """Features and the model's output, each held against `level` for itself.

    `score` is the effect of the features that are suspected or drifted, weighted by importance over all features: 0
    where none is, 1 where all have gone as far as they can. `prediction_score` is the largest such effect of the
    output.
    """

    rows_then: int
    rows_now: int
    rows_before: int | None
    level: float
    status: DriftStatus
    score: float
    features: tuple[ColumnDrift, ...]
    prediction_status: DriftStatus
    prediction_score: float
    predictions: tuple[ColumnDrift, ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        """The features that drifted."""
        return tuple(one.name for one in self.features if one.status is DriftStatus.DRIFTED)

    @property
    def suspected(self) -> tuple[str, ...]:
        """The features that are suspected."""
        return tuple(one.name for one in self.features if one.status is DriftStatus.SUSPECTED)


class Separability(StrEnum):
    """Whether a small model can tell reference rows from current ones."""

    SEPARABLE = "separable"
    ALIKE = "alike"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class SeparabilityReport:
    """The area under the curve of a classifier of reference against current rows, out of fold; .5 means alike.

    `importances` are by how much the area falls when a column is shuffled, the largest first. `reason` says why there
    is no `auc`.
    """

    verdict: Separability
    rows_then: int
    rows_now: int
    auc: Interval | None = None
    importances: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
