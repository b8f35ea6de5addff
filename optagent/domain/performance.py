"""How well a model does on the rows of a window: metrics, their change, and what the model looks at and is sure of."""

from dataclasses import dataclass

from optagent.domain.monitoring import Window
from optagent.domain.study import Interval

NO_CONCEPT_DRIFT = (
    "Estimated from the features and predictions alone: it cannot see concept drift, that is, a change of what the same"
    " features mean for the label. Only labels can."
)


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A metric of some labelled rows; without an interval, `reason` says why there is none.

    A change of a `bounded` metric is read as it is, of another as a share of its value before.
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
    """The metrics of one part of a window; `rows` are all of it, labelled or not."""

    window: Window
    rows: int
    metrics: tuple[MetricValue, ...]


@dataclass(frozen=True, slots=True)
class SliceValue:
    """The metric on the rows of one value, or quarter, of a column, against the rows beside them.

    `shortfall` is by how much the slice is worse than the rest, in the metric's unit; `worse` where that is significant
    among all slices tested (Benjamini and Hochberg 1995).
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

    `drop` is absolute for a bounded metric, otherwise a share of the reference. `degraded` where it reaches the
    threshold and its interval is above 0. Only a metric that is `watched` alarms; the others are for people: precision
    and recall, say, move with the share of positives alone.
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
    """The realised performance of a window, over time, by slice, and since the reference."""

    rows: int
    labelled: int
    metrics: tuple[MetricValue, ...] = ()
    over_time: tuple[PerformancePoint, ...] = ()
    slices: tuple[SliceValue, ...] = ()
    degradation: tuple[Degradation, ...] = ()


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often an estimate held on past windows whose labels have matured.

    `expected` is the share of misses that the interval's level allows, `p_value` how likely so many are by chance.
    """

    windows: int
    missed: int
    expected: float
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class EstimatedMetric:
    """A metric of rows without labels. Where not `trusted`, the number is not to be used and `reason` says why."""

    name: str
    maximize: bool
    bounded: bool
    interval: Interval
    trusted: bool = True
    coverage: Coverage | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EstimatedPerformance:
    """The performance to be expected on `rows` of a window, before their labels are known.

    `trusted` is False as soon as one of the metrics is not, or where there is no estimate.
    """

    rows: int
    metrics: tuple[EstimatedMetric, ...] = ()
    trusted: bool = False
    reason: str = ""
    caveat: str = NO_CONCEPT_DRIFT


@dataclass(frozen=True, slots=True)
class FeatureShift:
    """The share of a feature in what the model looks at, and its rank (1 is first), then and now."""

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
    """Importance then and now. `ndcg` is 1 where the ranking is the same; `changed` where it is below `threshold`.

    `features` are in the order of the current ranking, `movers` those whose share changed most, the largest first.
    """

    features: tuple[FeatureShift, ...]
    ndcg: float | None
    threshold: float
    changed: bool = False
    movers: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CalibrationPoint:
    """The mean probability of some rows, and how often it came true."""

    predicted: float
    observed: float
    rows: int


@dataclass(frozen=True, slots=True)
class Certainty:
    """How sure a classifier is on some rows.

    `entropy` is the mean over rows, as a share of the largest possible; `uncertain` the share of rows whose most
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
    """The certainty of a window beside that of the reference. `threshold` is the `confidence_threshold`."""

    threshold: float
    current: Certainty
    reference: Certainty | None = None
    slices: tuple[UncertainSlice, ...] = ()


@dataclass(frozen=True, slots=True)
class Latency:
    """Quantiles of response times in milliseconds, each within one per cent; `unusable` counts what was no latency:
    infinite or negative. `unknown` rows came without one."""

    rows: int
    unknown: int = 0
    unusable: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
