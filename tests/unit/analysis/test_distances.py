import numpy as np
import pytest
from scipy.stats import ks_2samp, norm, wasserstein_distance

from optagent.analysis import distances
from optagent.analysis.profile_bins import quantile_edges


def bin_counts(*samples):
    edges = np.array(quantile_edges(samples[0].astype(np.float32), 128))
    return edges, *(
        np.bincount(edges.searchsorted(sample, side="right"), minlength=len(edges) + 1) for sample in samples
    )


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    return rng.normal(size=5000).astype(np.float32), rng.normal(0.3, 1.2, size=3000).astype(np.float32)


def test_the_distance_over_bins_is_nearly_that_over_rows(samples):
    _, then, now = bin_counts(*samples)
    exact = ks_2samp(*samples).statistic
    assert exact - 1 / 128 <= distances.kolmogorov_smirnov(then, now) <= exact + 1e-9


def test_wasserstein_over_bins_is_nearly_that_over_rows(samples):
    edges, then, now = bin_counts(*samples)
    shift = samples[1].mean() - samples[0].mean()
    assert distances.wasserstein(then, now, edges, shift) == pytest.approx(wasserstein_distance(*samples), abs=0.02)


def test_what_moved_beyond_the_reference_is_measured_by_the_means():
    values = np.linspace(0, 1, 1000, dtype=np.float32)
    edges, then, now = bin_counts(values, values + 100)
    assert distances.wasserstein(then, now, edges, 100.0) == 100.0


@pytest.mark.parametrize("scale", [1, 7])
def test_equal_shares_are_at_no_distance(scale):
    then = np.array([5, 0, 3, 2])
    now = then * scale
    for distance in (
        distances.kolmogorov_smirnov,
        distances.total_variation,
        distances.cramers_v,
        distances.population_stability,
        distances.jensen_shannon,
    ):
        assert distance(then, now) == pytest.approx(0.0, abs=1e-7)


def test_disjoint_counts_are_as_far_apart_as_can_be():
    then, now = np.array([0, 8, 0]), np.array([3, 0, 1])
    assert distances.total_variation(then, now) == 1.0
    assert distances.cramers_v(then, now) == pytest.approx(1.0)
    assert distances.jensen_shannon(then, now) == pytest.approx(1.0)
    assert np.isfinite(distances.population_stability(then, now))


def test_the_stability_index_of_a_shifted_normal_is_the_known_one():
    """The symmetric divergence of two unit normals is the square of their shift; tenths see most of it."""
    grid = np.linspace(-6, 6, 129)
    then, now = ((np.diff(norm.cdf(grid, loc=shift)) * 1e7).astype(np.int64) for shift in (0.0, 0.5))
    assert 0.2 < distances.population_stability(*distances.tenths(then, now)) < 0.25


def test_tenths_keep_every_row():
    then, now = np.array([0, 50, 3, 3, 40, 0]), np.array([1, 2, 3, 4, 5, 6])
    coarse = distances.tenths(then, now)
    assert [part.sum() for part in coarse] == [96, 21]
    assert all(len(part) == 10 for part in coarse)
