"""What a gateway counts reaches the metrics once each."""

from typing import Any

import pytest

from serve_app.data_plane.metrics import METRICS, GatewayMetrics


class Metric:
    def __init__(self) -> None:
        self.values: dict[tuple[tuple[str, str], ...], float] = {}

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        key = tuple(tags.items())
        self.values[key] = self.values.get(key, 0) + value

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.values[tuple(tags.items())] = value


@pytest.fixture
def metrics() -> dict[str, Any]:
    return {metric.name: Metric() for metric in METRICS}


def test_counters_grow_by_what_was_added_since_they_were_told_last(metrics: dict[str, Any]) -> None:
    figures = GatewayMetrics()
    own = figures.of("m")
    own.champion, own.candidate, own.rows = 3, 1, 40
    figures.recorded = 40
    figures.flush(metrics)
    own.champion += 2
    figures.flush(metrics)
    figures.flush(metrics)
    answered = metrics["optagent_requests"].values
    assert answered == {(("model", "m"), ("arm", "champion")): 5, (("model", "m"), ("arm", "candidate")): 1}
    assert metrics["optagent_rows"].values == {(("model", "m"),): 40}
    assert metrics["optagent_recorded_rows"].values == {(): 40}


def test_gauges_say_what_is_now(metrics: dict[str, Any]) -> None:
    figures = GatewayMetrics()
    for lag_s in (2.0, 0.5):
        figures.of("m").shadow_lag_s = lag_s
        figures.flush(metrics)
    assert metrics["optagent_shadow_lag_s"].values == {(("model", "m"),): 0.5}


def test_the_histogram_counts_each_request_in_all_bounds_that_it_kept(metrics: dict[str, Any]) -> None:
    figures = GatewayMetrics()
    for latency_ms in (0.5, 0.7, 3.0, 90_000.0):
        figures.of("m").took(latency_ms)
    figures.flush(metrics)
    buckets = {key[1][1]: count for key, count in metrics["optagent_latency_ms_bucket"].values.items()}
    assert (buckets["0.5"], buckets["1.0"], buckets["5.0"], buckets["5000.0"], buckets["+Inf"]) == (1, 2, 3, 3, 4)
    assert sum(metrics["optagent_latency_ms_sum"].values.values()) == pytest.approx(90_004.2)


def test_a_metric_that_nobody_shows_is_left_out() -> None:
    figures = GatewayMetrics()
    figures.of("m").champion = 1
    figures.flush({})
