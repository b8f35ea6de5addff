"""Diagnosis: the facts about a model's decay, its condition, the likely causes and the remedy."""

from dataclasses import dataclass
from enum import StrEnum


class Condition(StrEnum):
    STABLE = "stable"
    DATA_DRIFT = "data drift"
    CONCEPT_DRIFT = "concept drift"
    FAULT = "label or pipeline fault"
    INSUFFICIENT = "insufficient evidence"


class Remedy(StrEnum):
    NOTHING = "nothing"
    RECALIBRATE = "recalibrate"
    RETRAIN = "retrain"
    RE_TUNE = "re-tune"
    RE_ENGINEER = "re-engineer"
    ENSEMBLE = "ensemble"
    FIX_PIPELINE = "fix the data pipeline"
    WAIT = "wait for labels"


class ConfidenceLevel(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class UnitChange:
    """A change of unit: a current value is `scale` times the former one plus `shift`; `name` is a familiar cause."""

    scale: float
    shift: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A feature in the current window and in the reference.

    `effect` is the drift's effect size from 0 to 1, `drifted` the result of the drift test, `importance` the feature's
    share of all importance from 0 to 1. The other shares are of the rows. `loss_inside` and `loss_outside` are the mean
    losses of the current rows where the feature's distribution has grown, and of the others.
    """

    name: str
    effect: float = 0.0
    drifted: bool = False
    importance: float | None = None
    null_share_then: float = 0.0
    null_share_now: float = 0.0
    constant_then: bool = False
    constant_now: bool = False
    unit_change: UnitChange | None = None
    unseen_share: float = 0.0
    loss_inside: float | None = None
    loss_outside: float | None = None

    @property
    def excess_loss(self) -> float | None:
        """The mean loss where the feature drifted, less that elsewhere."""
        if self.loss_inside is None or self.loss_outside is None:
            return None
        return self.loss_inside - self.loss_outside


@dataclass(frozen=True, slots=True)
class DegradedMetric:
    """A metric that fell by more than its threshold.

    A positive `drop` is worse for every metric; `low` and `high` are its bounds.
    """

    name: str
    then: float
    now: float
    drop: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class DiagnosisFacts:
    """The facts that the analyses of one window found; None where a fact is unknown.

    `drifted_importance` is the share of the model's importance in drifted columns. `concept_drift` is the alarm of a
    detector on the loss, `excess_loss` the excess of the loss per row. `loss_rise` is the rise of the mean loss,
    `expected_rise` the rise that the mix of today's rows explains, if similar rows were lost on as in the reference.
    `estimated_drop` is the label-free estimate for the first degraded metric (or the model's metric),
    `estimate_trusted` is True where its coverage on past labels held, False where it did not, None where too few labels
    have checked it. Label delays are in seconds from prediction to label; `labels_due` counts the rows that should have
    a label by now, `due_since_label` those of them that are newer than the newest row with a label, `due_labelled`
    those that have one. `auc_kept` is True where the ranking is as good as it was, `calibration_noise` is the
    calibration error that chance alone causes with so many labels. `unusable_predictions` and `unusable_labels` are
    shares of all that arrived; constant predictions or labels have one value where the reference has several. `judged`
    is False where the performance was not analyzed; `uncompared` says why it could not be compared with the reference.
    `tried` are the remedies that have not helped since the trouble began, see `optagent.domain.remedy_ladder`.
    """

    rows: int
    labelled: int
    columns: tuple[ColumnFacts, ...] = ()
    drifted_importance: float | None = None
    prediction_drift: bool = False
    degraded: tuple[DegradedMetric, ...] = ()
    concept_drift: bool = False
    excess_loss: float | None = None
    loss_rise: float | None = None
    expected_rise: float | None = None
    estimated_drop: float | None = None
    estimate_trusted: bool | None = None
    labels_due: int | None = None
    due_since_label: int = 0
    due_labelled: int = 0
    label_delay_then_s: float | None = None
    label_delay_now_s: float | None = None
    calibration_error_then: float | None = None
    calibration_error_now: float | None = None
    calibration_noise: float = 0.0
    auc_kept: bool | None = None
    unusable_predictions: float = 0.0
    unusable_labels: float = 0.0
    constant_predictions: bool = False
    constant_labels: bool = False
    judged: bool = True
    uncompared: str = ""
    tried: tuple[Remedy, ...] = ()

    @property
    def unseen_share(self) -> float:
        """The greatest share of rows with an unseen category in any column."""
        return max((column.unseen_share for column in self.columns), default=0.0)


@dataclass(frozen=True, slots=True)
class Cause:
    """A feature that may be the cause: `weight` is its share among all listed causes, from 0 to 1."""

    column: str
    weight: float
    effect: float
    importance: float | None
    excess_loss: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The condition, the most likely cause first, and a remedy; `alternatives` are to be tried if it does not help."""

    verdict: Condition
    remedy: Remedy
    reasons: tuple[str, ...]
    causes: tuple[Cause, ...] = ()
    alternatives: tuple[Remedy, ...] = ()
    confidence: ConfidenceLevel = ConfidenceLevel.MEDIUM
