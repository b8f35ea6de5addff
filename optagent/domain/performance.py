"""Performance: realised and estimated metrics of a window, with attribution, confidence and latency."""

from dataclasses import dataclass

from optagent.domain.label_maturity import WindowMaturity
from optagent.domain.monitoring import Window
from optagent.domain.study import Interval

NO_CONCEPT_DRIFT = (
    "Estimated from the features and predictions alone: it cannot see concept drift, that is, a change of what the same"
    " features mean for the label. Only labels can."
)


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A metric of some labelled rows; without an interval, `reason` says why there is none.

    A change of a `bounded` metric is taken as it is, that of any other metric as a share of its former value.
    """

    name: str
    maximize: bool
    bounded: bool
    rows: int
    interval: Interval | None = None
    reason: str = ""

    @property
    def value(self) -> float | None:
        return None if self.interval is None else self.interval.estimate


@dataclass(frozen=True, slots=True)
class PerformancePoint:
    """The metrics of one part of a window; `rows` counts all its rows, labelled or not."""

    window: Window
    rows: int
    metrics: tuple[MetricValue, ...]


@dataclass(frozen=True, slots=True)
class SliceValue:
    """The metric on the rows of one value, or quarter, of a column, against all other rows.

    `shortfall` is the amount by which the slice is worse than the rest, in the metric's unit; `worse` is True where
    that is significant among all tested slices (Benjamini and Hochberg 1995).
    """

    column: str
    value: str
    metric: MetricValue
    rest: MetricValue
    shortfall: Interval | None = None
    p_value: float | None = None
    worse: bool = False


@dataclass(frozen=True, slots=True)
class Degradation:
    """The fall of a metric since the reference: above 0 is worse.

    `drop` is absolute for a bounded metric, otherwise a share of the reference. `degraded` is True where the drop
    reaches the threshold and its interval is above 0. Only a `watched` metric raises an alarm, and its intervals have
    the risk that `false_alarm_every` allows for. The others are for people, since precision and recall, for example,
    move with the share of positives alone.
    """

    reference: MetricValue
    current: MetricValue
    threshold: float
    drop: Interval | None = None
    degraded: bool = False
    reason: str = ""
    watched: bool = True

    @property
    def name(self) -> str:
        return self.current.name


@dataclass(frozen=True, slots=True)
class Performance:
    """The realised performance of a window, over time, by slice, and since the reference.

    `maturity` says what share of the labels has come; the metrics of a young window are corrected for the rest. The
    degradation and the slices are of the matured rows, and of the labels that have come.
    """

    rows: int
    labelled: int
    metrics: tuple[MetricValue, ...] = ()
    over_time: tuple[PerformancePoint, ...] = ()
    slices: tuple[SliceValue, ...] = ()
    degradation: tuple[Degradation, ...] = ()
    maturity: WindowMaturity | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """The coverage of an estimate's intervals on past windows whose labels have matured.

    `expected` is the share of misses that the interval's level allows, `p_value` the probability of so many by chance.
    """

    windows: int
    missed: int
    expected: float
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class EstimatedMetric:
    """An estimated metric of rows without labels.

    `trusted` is None until labels have checked past estimates, False where these failed. Use it only where it is True;
    `reason` says why it is not.
    """

    name: str
    maximize: bool
    bounded: bool
    interval: Interval
    trusted: bool | None = None
    coverage: Coverage | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EstimatedPerformance:
    """The expected performance on `rows` of a window, before their labels are known.

    `trusted` is False as soon as past estimates of one metric failed their check; it is None until labels have checked
    all of them, and where there is no estimate. `reason` says why it is not True.
    """

    rows: int
    metrics: tuple[EstimatedMetric, ...] = ()
    trusted: bool | None = None
    reason: str = ""
    caveat: str = NO_CONCEPT_DRIFT


@dataclass(frozen=True, slots=True)
class FeatureShift:
    """The share of a feature in all importance, and its rank (1 is first), in the reference and now."""

    name: str
    reference_share: float
    current_share: float
    reference_rank: int
    current_rank: int

    @property
    def change(self) -> float:
        return self.current_share - self.reference_share


@dataclass(frozen=True, slots=True)
class AttributionShift:
    """The change of importance since the reference.

    `ndcg` is 1 where the ranking is the same; `changed` is True where it is below `threshold`. `features` are in the
    order of the current ranking, `movers` are those whose share changed most, the largest change first.
    """

    features: tuple[FeatureShift, ...]
    ndcg: float | None
    threshold: float
    changed: bool = False
    movers: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CalibrationPoint:
    """The mean predicted probability of some rows, and the observed frequency."""

    predicted: float
    observed: float
    rows: int


@dataclass(frozen=True, slots=True)
class Certainty:
    """The certainty of a classifier on some rows.

    `entropy` is the mean over rows, as a share of the largest possible one; `uncertain` is the share of rows whose most
    probable class is below the threshold. The calibration needs labels.
    """

    rows: int
    labelled: int
    entropy: float | None = None
    uncertain: float | None = None
    curve: tuple[CalibrationPoint, ...] = ()
    calibration_error: MetricValue | None = None


@dataclass(frozen=True, slots=True)
class UncertainSlice:
    """A slice with significantly more uncertain rows than the rest."""

    column: str
    value: str
    rows: int
    uncertain: float
    rest: float
    p_value: float


@dataclass(frozen=True, slots=True)
class ModelConfidence:
    """The certainty of a window and of the reference. `threshold` is the `confidence_threshold`.

    `rise` is that of the share of uncertain predictions, with the risk that `false_alarm_every` allows for.
    """

    threshold: float
    current: Certainty
    reference: Certainty | None = None
    slices: tuple[UncertainSlice, ...] = ()
    rise: Interval | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Quantiles of response times in milliseconds, each within one per cent.

    `unusable` counts infinite and negative values, `unknown` the rows without a latency.
    """

    rows: int
    unknown: int = 0
    unusable: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
