"""Data drift: the results of comparing live rows with the reference, by column and as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from optagent.domain.study import Interval


class DriftStatus(StrEnum):
    """Outcome of a drift test. `SUSPECTED`: significant in this window, but neither in two in a row nor beyond doubt.

    `UNKNOWN`: there is nothing to compare.
    """

    STABLE = "stable"
    SUSPECTED = "suspected"
    DRIFTED = "drifted"
    UNKNOWN = "unknown"


class DriftCheck(StrEnum):
    """The aspects of a column that are tested: its values, the shares of missing values and of unseen categories."""

    VALUES = "values"
    MISSING = "missing values"
    UNSEEN = "unseen categories"


@dataclass(frozen=True, slots=True)
class DriftTest:
    """One test of one column.

    `effect` is between 0 and 1: the Kolmogorov-Smirnov distance of ordered values, the total variation of categories,
    or the difference of the shares of missing or unseen values. `p_value` is that of this window, `persistent_p_value`
    that of this window and the one before. The adjusted p-values take all columns into account (Benjamini and
    Hochberg); these are compared with the level.
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

    `shares` are those of the most frequent categories among the values that are not missing.
    """

    rows: int
    missing: float
    unseen: float = 0.0
    outside: float = 0.0
    mean: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column in the reference and in the window; `effect` and `status` are those of its most serious test.

    `weight` is its share of all importance. `effective_rows` is the number of independent rows that carry as much
    information as the rows of the window. The distances are for people and never raise an alarm: `psi` and
    `jensen_shannon` over tenths of the reference (or categories), `wasserstein` in standard deviations of the
    reference, `cramers_v` of categories.
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
    """The drift of the features and of the model's output, each tested separately at `level`.

    `score` is the effect of the features that are suspected or drifted, weighted by importance over all features: 0
    where there is none, 1 where all have the largest possible effect. `prediction_score` is the largest such effect of
    the output. `comparison` says in words what the window was compared with, `windows` how many windows in a row the
    evidence is of.
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
    comparison: str = ""
    windows: int = 0

    @property
    def drifted_features(self) -> tuple[str, ...]:
        """The names of the features that drifted."""
        return tuple(feature.name for feature in self.features if feature.status is DriftStatus.DRIFTED)

    @property
    def suspected_features(self) -> tuple[str, ...]:
        """The names of the features that are suspected of drift."""
        return tuple(feature.name for feature in self.features if feature.status is DriftStatus.SUSPECTED)


class Separability(StrEnum):
    """Outcome of training a small classifier of reference against current rows."""

    SEPARABLE = "separable"
    ALIKE = "alike"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class SeparabilityReport:
    """The out-of-fold area under the ROC curve of a classifier of reference against current rows; 0.5 means alike.

    `importances` are the falls of the area when a column is shuffled, the largest first. `reason` says why there is no
    `auc`.
    """

    verdict: Separability
    rows_then: int
    rows_now: int
    auc: Interval | None = None
    importances: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
