"""Gateway metrics: plain numbers that a gateway counts, and that are exported once a second."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

BOUNDS_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0)


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """The name of a metric, its kind (a counter only grows), its description and the names of its tags."""

    name: str
    kind: Literal["counter", "gauge"]
    description: str
    tags: tuple[str, ...] = ("model",)


METRICS = (
    MetricDefinition(
        "optagent_requests", "counter", "prediction requests that were answered, by what was drawn", ("model", "arm")
    ),
    MetricDefinition("optagent_rows", "counter", "rows that were answered"),
    MetricDefinition("optagent_fallbacks", "counter", "requests that another version answered than the one drawn"),
    MetricDefinition("optagent_refused_requests", "counter", "requests that were refused"),
    MetricDefinition("optagent_failed_requests", "counter", "requests that no version answered"),
    MetricDefinition(
        "optagent_latency_ms_bucket", "counter", "answered requests of at most so many milliseconds", ("model", "le")
    ),
    MetricDefinition("optagent_latency_ms_sum", "counter", "milliseconds that answered requests took"),
    MetricDefinition(
        "optagent_slot_failures",
        "counter",
        "requests in which a slot of the mixture did not answer every row",
        ("model", "slot"),
    ),
    MetricDefinition("optagent_shadow_rows", "counter", "rows that a shadow was asked for"),
    MetricDefinition("optagent_shadow_failed_rows", "counter", "rows that a shadow failed"),
    MetricDefinition(
        "optagent_shadow_dropped_rows", "counter", "rows that no shadow was asked for, since too many waited"
    ),
    MetricDefinition("optagent_shadow_lag_s", "gauge", "seconds by which a shadow is behind"),
    MetricDefinition(
        "optagent_history_missing_rows",
        "counter",
        "rows that were answered without their history, which Redis did not give",
    ),
    MetricDefinition(
        "optagent_history_unkept_rows",
        "counter",
        "answered rows that are no past of later ones, for their time in the future or for Redis",
    ),
    MetricDefinition("optagent_recorded_rows", "counter", "rows that were recorded", ()),
    MetricDefinition("optagent_record_dropped_rows", "counter", "rows that were answered and not recorded", ()),
    MetricDefinition("optagent_record_waiting_rows", "gauge", "rows that wait to be recorded", ()),
)

ROLLOUT_STATE = MetricDefinition(
    "optagent_rollout_state", "gauge", "1 for the state that the model's latest rollout is in", ("model", "state")
)
"""The metric that the supervisor exports beside those of gateways."""


class ModelMetrics:
    """The counts of one model. Each number is changed by one thread only, so no count is lost."""

    __slots__ = (
        "buckets",
        "candidate",
        "champion",
        "failed",
        "fallbacks",
        "history_missing",
        "history_unkept",
        "latency_ms",
        "refused",
        "rows",
        "shadow_dropped",
        "shadow_failed",
        "shadow_lag_s",
        "shadow_rows",
        "slot_failures",
    )

    def __init__(self) -> None:
        self.champion = self.candidate = self.rows = self.fallbacks = self.refused = self.failed = 0
        self.shadow_rows = self.shadow_failed = self.shadow_dropped = 0
        self.history_missing = self.history_unkept = 0
        self.shadow_lag_s = self.latency_ms = 0.0
        self.slot_failures: dict[str, int] = {}
        self.buckets = [0] * (len(BOUNDS_MS) + 1)

    def add_latency(self, latency_ms: float) -> None:
        self.latency_ms += latency_ms
        self.buckets[bisect_left(BOUNDS_MS, latency_ms)] += 1


class GatewayMetrics:
    """The counts of all models, and of the recorder."""

    def __init__(self) -> None:
        self.recorded = self.record_dropped = self.record_waiting = 0
        self._models: dict[str, ModelMetrics] = {}
        self._flushed: dict[tuple[str, tuple[str, ...]], float] = {}

    def of_model(self, model_id: str) -> ModelMetrics:
        """The metrics of one model, the same object at each call."""
        return self._models.setdefault(model_id, ModelMetrics())

    def flush(self, targets: Mapping[str, Any]) -> None:
        """Exports to targets by name: the increase of a counter by `inc`, the value of a gauge by `set`."""
        for metric in METRICS:
            target = targets.get(metric.name)
            for values, now in self._tagged_values(metric.name) if target is not None else ():
                tags = dict(zip(metric.tags, values, strict=True))
                if metric.kind == "gauge":
                    target.set(now, tags)  # type: ignore[union-attr]
                    continue
                increase = now - self._flushed.get((metric.name, values), 0)
                if increase > 0:
                    self._flushed[metric.name, values] = now
                    target.inc(increase, tags)  # type: ignore[union-attr]

    def _tagged_values(self, name: str) -> Iterator[tuple[tuple[str, ...], float]]:
        """The values of a metric by those of its tags."""
        if name in _GLOBAL:
            yield (), getattr(self, _GLOBAL[name])
            return
        for model_id, model_metrics in list(self._models.items()):
            if name == "optagent_requests":
                yield (model_id, "champion"), model_metrics.champion
                yield (model_id, "candidate"), model_metrics.candidate
            elif name == "optagent_slot_failures":
                yield from (((model_id, slot), failures) for slot, failures in model_metrics.slot_failures.items())
            elif name == "optagent_latency_ms_bucket":
                total = 0
                for bound, count in zip((*map(str, BOUNDS_MS), "+Inf"), model_metrics.buckets, strict=True):
                    total += count
                    yield (model_id, bound), total
            else:
                yield (model_id,), getattr(model_metrics, _OF_MODEL[name])


_GLOBAL = {
    "optagent_recorded_rows": "recorded",
    "optagent_record_dropped_rows": "record_dropped",
    "optagent_record_waiting_rows": "record_waiting",
}
_OF_MODEL = {
    "optagent_rows": "rows",
    "optagent_fallbacks": "fallbacks",
    "optagent_refused_requests": "refused",
    "optagent_failed_requests": "failed",
    "optagent_latency_ms_sum": "latency_ms",
    "optagent_shadow_rows": "shadow_rows",
    "optagent_shadow_failed_rows": "shadow_failed",
    "optagent_shadow_dropped_rows": "shadow_dropped",
    "optagent_shadow_lag_s": "shadow_lag_s",
    "optagent_history_missing_rows": "history_missing",
    "optagent_history_unkept_rows": "history_unkept",
}
