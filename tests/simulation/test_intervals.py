"""Coverage of bootstrap intervals: the share of them that hold the truth.

Blocks of the cube root of the rows missed in .28 of the worlds with a long memory, where .05 is asked, and in .23 of
those with effects of days.
"""

from functools import partial

import numpy as np
import pytest
from scipy.stats import binom

from optagent.analysis.bootstrap import Resampling, bootstrap_interval
from tests.performance.decisions.samples import AR9, DAYS, Draw, count_misses, customers, iid, relative_width
from tests.simulation.streams import autoregressive


def mean_score(_: np.ndarray, prediction: np.ndarray) -> float:
    return float(prediction.mean())


def resampled_mean(_: np.ndarray, prediction: np.ndarray):  # type: ignore[no-untyped-def]
    return lambda counts: counts @ prediction / counts.sum(axis=1)


def coverage(series, how: Resampling, worlds: int = 300, rows: int = 300) -> float:  # type: ignore[no-untyped-def]
    """Share of 90 % intervals of a mean that hold the true mean, 0."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(worlds):
        values = series(rng, rows)
        interval = bootstrap_interval(mean_score, values, values, 0.1, how, resampled_mean)
        hits += interval.low <= 0 <= interval.high
    return hits / worlds


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    # Three standard deviations of a binomial share at 300 worlds: .052.
    assert coverage(partial(autoregressive, phi=0.0), Resampling(resamples=300)) == pytest.approx(0.9, abs=0.052)


def test_blocks_keep_the_coverage_that_single_rows_lose_on_ordered_rows() -> None:
    ordered = partial(autoregressive, phi=0.5)
    assert coverage(ordered, Resampling(resamples=200), rows=1000) < 0.75
    assert coverage(ordered, Resampling(resamples=200, time_ordered=True), rows=1000) > 0.9 - 0.052


def test_groups_keep_the_coverage_that_single_rows_lose_on_a_panel() -> None:
    def panel(rng: np.random.Generator, rows: int) -> np.ndarray:
        return np.repeat(rng.normal(size=rows // 5), 5)

    days = np.repeat(np.arange(60), 5)
    assert coverage(panel, Resampling(resamples=300)) < 0.7
    assert coverage(panel, Resampling(resamples=300, groups=days)) == pytest.approx(0.9, abs=0.06)


@pytest.mark.parametrize(
    ("draw", "rows", "most"),
    [(iid, 500, 0.05), (AR9, 500, 0.08), (AR9, 1_300, 0.08), (DAYS, 2_000, 0.08)],
    ids=["no memory", "AR(.9), 500 rows", "AR(.9), 1,300 rows", "days"],
)
def test_a_long_memory_costs_little_of_the_coverage(draw: Draw, rows: int, most: float) -> None:
    runs = 100
    assert sum(count_misses(runs, draw, rows)) * runs <= binom.ppf(0.99, runs, most)


def test_without_a_memory_an_interval_is_hardly_wider_than_it_has_to_be() -> None:
    assert 0.97 < relative_width(40) < 1.06


def test_whole_customers_keep_the_coverage_that_their_single_rows_lose() -> None:
    runs = 100
    assert sum(count_misses(runs, customers, 500, group=10, ordered=False)) * runs <= binom.ppf(0.99, runs, 0.05)
    assert sum(count_misses(runs, customers, 500, ordered=False)) * runs > 20
