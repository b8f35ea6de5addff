"""Columns that say the same are one cluster, of which the steadiest stays."""

import numpy as np
import pytest

from optagent.errors import InvalidRequest
from optagent.features.collinearity import clusters, most_stable_columns, rank_correlation, variance_inflation
from optagent.features.stability import drift_over_blocks, rank_stability, stability


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """Column 1 is a noisy copy of 0, column 2 its cube and drifting, 3 is on its own, 4 is constant."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2_000))
    drifting = -(a**3) + np.linspace(0, 1.0, 2_000)
    return np.column_stack([a, a + 0.05 * rng.normal(size=2_000), drifting, b, np.ones(2_000)]).astype(np.float32)


def test_clusters_are_found_by_rank_and_whatever_the_sign(x: np.ndarray) -> None:
    assert clusters(rank_correlation(x), 0.8) == ((0, 1, 2), (3,), (4,))


def test_all_of_a_cluster_are_alike_not_only_neighbours_in_a_chain() -> None:
    chain = np.array([[1, 0.96, 0.85], [0.96, 1, 0.96], [0.85, 0.96, 1]])
    assert len(clusters(chain, 0.95)) == 2


def test_the_steadiest_of_a_cluster_stays(x: np.ndarray) -> None:
    groups = clusters(rank_correlation(x), 0.8)
    steady = stability(drift_over_blocks(x), np.ones(5))
    assert steady[2] < steady[0]
    assert most_stable_columns(groups, steady, np.array([0.0, 0.0, 9.0, 0.0, 0.0]))[0] != 2
    assert most_stable_columns(groups, np.ones(5), np.array([0.0, 1.0, 0.0, 0.0, 0.0])) == (1, 3, 4)


def test_inflation_is_large_for_what_the_others_know_and_1_for_what_stands_alone(x: np.ndarray) -> None:
    total = np.column_stack([x[:, 0], x[:, 3], x[:, 0] + x[:, 3], np.random.default_rng(1).normal(size=2_000)])
    inflation = variance_inflation(rank_correlation(total.astype(np.float32)))
    assert (inflation[:3] > 10).all()
    assert inflation[3] == pytest.approx(1, abs=0.01)
    twice = variance_inflation(np.ones((2, 2)))
    assert np.isfinite(twice).all()
    assert (twice > 1e5).all()


def test_a_correlation_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"at most 1, got 1\.5"):
        clusters(np.eye(2), 1.5)


def test_drift_is_seen_in_values_in_codes_and_in_what_is_missing_and_not_in_noise() -> None:
    rng = np.random.default_rng(0)
    still, codes = rng.normal(size=(3_000, 20)), rng.integers(0, 6, 3_000)
    moved = rng.normal(size=3_000) + np.where(np.arange(3_000) < 600, 2.0, 0.0)
    other_codes = np.where(np.arange(3_000) < 2_400, codes, 0)
    gone = np.where(np.arange(3_000) > 2_400, np.nan, rng.normal(size=3_000))
    x = np.column_stack([still, codes, moved, other_codes, gone]).astype(np.float32)
    drift = drift_over_blocks(x, categorical=(20, 22))
    assert (drift[:21] > 0).mean() < 0.2
    assert drift[:21].max() < 0.02
    assert (drift[21:] > 0.4).all()


def test_few_rows_cannot_drift() -> None:
    assert drift_over_blocks(np.zeros((3, 2), dtype=np.float32)).tolist() == [0, 0]


def test_a_column_that_keeps_its_rank_in_every_fold_is_stable() -> None:
    rng = np.random.default_rng(0)
    importances = rng.random((5, 40))
    importances[:, 3] = 5.0
    stabilities = rank_stability(importances)
    assert stabilities[3] == 1.0
    assert np.mean(stabilities) < 0.3
    assert rank_stability(importances[:1]).tolist() == [1.0] * 40
