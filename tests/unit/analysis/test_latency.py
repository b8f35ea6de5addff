import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optagent.analysis.latency import ACCURACY, LatencySketch
from optagent.errors import InvalidRequest

LATENCIES = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=50)


def same(one: LatencySketch, other: LatencySketch) -> bool:
    rest = [(each.unknown, each.unusable, each.max_ms) for each in (one, other)]
    return bool((one.counts == other.counts).all()) and rest[0] == rest[1]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_a_quantile_is_within_one_per_cent(share: float, scale: float) -> None:
    values = scale * np.random.default_rng(0).lognormal(1.0, 1.5, 10_000)
    truth = np.quantile(values, share, method="lower")
    assert LatencySketch.of(values).quantile(share) == pytest.approx(truth, rel=ACCURACY * 1.0001)


@given(LATENCIES, LATENCIES, LATENCIES)
def test_the_halves_merged_are_the_whole_in_any_order(one: list[float], two: list[float], three: list[float]) -> None:
    a, b, c = (LatencySketch.of(np.array(each, dtype=np.float64)) for each in (one, two, three))
    whole = LatencySketch.of(np.array(one + two + three, dtype=np.float64))
    assert same(a.merge(b).merge(c), whole)
    assert same(a.merge(b.merge(c)), whole)
    assert same(c.merge(a).merge(b), whole)


def test_what_is_no_latency_is_counted_apart() -> None:
    summary = LatencySketch.of(np.array([np.nan, np.inf, -np.inf, -1.0, 0.0, 5.0, 1e300])).summary()
    assert (summary.rows, summary.unknown, summary.unusable, summary.max_ms) == (3, 1, 3, 1e300)
    assert summary.p50_ms == pytest.approx(5.0, rel=ACCURACY * 1.0001)


def test_no_rows_have_no_quantiles() -> None:
    for sketch in (LatencySketch.empty(), LatencySketch.of(np.empty(0)), LatencySketch.of(np.full(3, np.nan))):
        summary = sketch.summary()
        assert summary.rows == 0
        assert summary.p50_ms is summary.p99_ms is summary.max_ms is None


def test_one_row_is_all_its_quantiles() -> None:
    summary = LatencySketch.of(np.array([7.0])).summary()
    assert summary.p50_ms == summary.p99_ms == pytest.approx(7.0, rel=ACCURACY * 1.0001)
    assert summary.p99_ms is not None
    assert summary.p99_ms <= 7.0


def test_a_quantile_outside_0_and_1_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"between 0 and 1, got 1\.5"):
        LatencySketch.empty().quantile(1.5)
