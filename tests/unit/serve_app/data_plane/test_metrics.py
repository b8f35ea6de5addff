"""Gateway metrics: each count reaches the exported metrics once."""

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
def targets() -> dict[str, Any]:
    return {metric.name: Metric() for metric in METRICS}


def test_counters_grow_by_what_was_added_since_they_were_told_last(targets: dict[str, Any]) -> None:
    metrics = GatewayMetrics()
    model_metrics = metrics.of_model("m")
    model_metrics.champion, model_metrics.candidate, model_metrics.rows = 3, 1, 40
    metrics.recorded = 40
    metrics.flush(targets)
    model_metrics.champion += 2
    metrics.flush(targets)
    metrics.flush(targets)
    requests = targets["optagent_requests"].values
    assert requests == {(("model", "m"), ("arm", "champion")): 5, (("model", "m"), ("arm", "candidate")): 1}
    assert targets["optagent_rows"].values == {(("model", "m"),): 40}
    assert targets["optagent_recorded_rows"].values == {(): 40}


def test_failures_of_slots_are_counted_by_the_name_of_the_slot(targets: dict[str, Any]) -> None:
    metrics = GatewayMetrics()
    metrics.of_model("m").slot_failures["1/4"] = 2
    metrics.flush(targets)
    assert targets["optagent_slot_failures"].values == {(("model", "m"), ("slot", "1/4")): 2}


def test_gauges_say_what_is_now(targets: dict[str, Any]) -> None:
    metrics = GatewayMetrics()
    for lag_s in (2.0, 0.5):
        metrics.of_model("m").shadow_lag_s = lag_s
        metrics.flush(targets)
    assert targets["optagent_shadow_lag_s"].values == {(("model", "m"),): 0.5}


def test_the_histogram_counts_each_request_in_all_bounds_that_it_kept(targets: dict[str, Any]) -> None:
    metrics = GatewayMetrics()
    for latency_ms in (0.5, 0.7, 3.0, 90_000.0):
        metrics.of_model("m").add_latency(latency_ms)
    metrics.flush(targets)
    buckets = {key[1][1]: count for key, count in targets["optagent_latency_ms_bucket"].values.items()}
    assert (buckets["0.5"], buckets["1.0"], buckets["5.0"], buckets["5000.0"], buckets["+Inf"]) == (1, 2, 3, 3, 4)
    assert sum(targets["optagent_latency_ms_sum"].values.values()) == pytest.approx(90_004.2)


def test_a_metric_that_nobody_shows_is_left_out() -> None:
    metrics = GatewayMetrics()
    metrics.of_model("m").champion = 1
    metrics.flush({})
