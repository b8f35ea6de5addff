"""Ray metrics of gateways, rollouts, models and the system, which the cluster exports to Prometheus."""

import asyncio
from collections.abc import Iterable, Mapping
from math import nan
from typing import Any

from ray.util.metrics import Counter, Gauge

from serve_app.data_plane.metrics import METRICS, ROLLOUT_STATE, GatewayMetrics
from serve_app.model_metrics import MODEL_METRICS, MetricSample

_EVERY_S = 1.0


def ray_metrics() -> dict[str, Any]:
    """A Ray metric for each of METRICS, by name."""
    kinds: Mapping[str, Any] = {"counter": Counter, "gauge": Gauge}
    return {
        definition.name: kinds[definition.kind](definition.name, definition.description, definition.tags)
        for definition in METRICS
    }


async def export_forever(gateway_metrics: GatewayMetrics) -> None:
    """Exports the metrics of a gateway once a second, until it is cancelled."""
    metrics = ray_metrics()
    while True:
        await asyncio.sleep(_EVERY_S)
        gateway_metrics.flush(metrics)


class RolloutStates:
    """Exports the state of each model's rollout: a gauge that is 1 for it, and 0 for the state before."""

    def __init__(self) -> None:
        self._gauge = Gauge(ROLLOUT_STATE.name, ROLLOUT_STATE.description, ROLLOUT_STATE.tags)
        self._exported: dict[str, str] = {}

    def __call__(self, states: Mapping[str, str]) -> None:
        for model_id, state in {**self._exported, **states}.items():
            earlier = self._exported.get(model_id)
            if earlier is not None and earlier != states.get(model_id):
                self._gauge.set(0, {"model": model_id, "state": earlier})
            if model_id in states:
                self._gauge.set(1, {"model": model_id, "state": state})
        self._exported = dict(states)


class ModelGauges:
    """Exports the samples of models and the system; one that is no longer there becomes NaN, which tools leave out."""

    def __init__(self) -> None:
        self._gauges: dict[str, Any] = {
            definition.name: (Gauge(definition.name, definition.description, definition.tags), definition.tags)
            for definition in MODEL_METRICS
        }
        self._exported: set[tuple[str, tuple[str, ...]]] = set()

    def __call__(self, samples: Iterable[MetricSample]) -> None:
        values = {(sample.name, sample.tags): sample.value for sample in samples}
        for (name, tag_values), value in {**dict.fromkeys(self._exported, nan), **values}.items():
            gauge, tags = self._gauges[name]
            gauge.set(float(value), dict(zip(tags, tag_values, strict=True)))
        self._exported = set(values)
