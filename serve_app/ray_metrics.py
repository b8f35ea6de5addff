"""Figures as Ray metrics, which the cluster exports to Prometheus and its dashboard."""

import asyncio
from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

from serve_app.data_plane.metrics import METRICS, GatewayMetrics

_EVERY_S = 1.0


def ray_metrics() -> dict[str, Any]:
    """One for each of METRICS, by its name."""
    kinds: Mapping[str, Any] = {"counter": Counter, "gauge": Gauge}
    return {metric.name: kinds[metric.kind](metric.name, metric.description, metric.tags) for metric in METRICS}


async def tell_forever(figures: GatewayMetrics) -> None:
    """Hands the figures over once a second, until cancelled."""
    metrics = ray_metrics()
    while True:
        await asyncio.sleep(_EVERY_S)
        figures.flush(metrics)


class RolloutStates:
    """The state that each model's rollout is in: a gauge of 1 for it, and of 0 for the one before."""

    def __init__(self) -> None:
        said = "1 for the state that the model's latest rollout is in"
        self._gauge = Gauge("optagent_rollout_state", said, ("model", "state"))
        self._told: dict[str, str] = {}

    def __call__(self, states: Mapping[str, str]) -> None:
        for model_id, state in {**self._told, **states}.items():
            before = self._told.get(model_id)
            if before is not None and before != states.get(model_id):
                self._gauge.set(0, {"model": model_id, "state": before})
            if model_id in states:
                self._gauge.set(1, {"model": model_id, "state": state})
        self._told = dict(states)
