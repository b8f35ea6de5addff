import numpy as np
import pytest

from optagent.analysis.block_length import cube_root_length, data_driven_length, politis_white_length
from tests.simulation.streams import autoregressive


def median_length(phi: float, rows: int = 2000) -> float:
    return float(
        np.median([politis_white_length(autoregressive(np.random.default_rng(seed), rows, phi)) for seed in range(20)])
    )


def test_the_length_is_that_of_the_formula_where_the_autocorrelation_is_known() -> None:
    # For an autoregression, slope / spectrum is 2 phi / (1 - phi ** 2).
    for phi in (0.6, 0.9):
        exact = (1.5 * (2 * phi / (1 - phi**2)) ** 2 * 2000) ** (1 / 3)
        assert median_length(phi) == pytest.approx(exact, rel=0.45)
    assert median_length(0.0) < 5


def test_a_constant_and_a_short_series_need_no_block() -> None:
    assert politis_white_length(np.full(100, 0.3)) == 1
    assert politis_white_length(np.arange(10.0)) == 1


def test_a_trend_is_bounded() -> None:
    assert politis_white_length(np.arange(400.0)) <= 60


def test_an_effect_too_weak_for_single_values_is_seen_on_their_sums() -> None:
    rng = np.random.default_rng(0)
    lengths = []
    for _ in range(20):
        values = rng.normal(size=240) + 0.5 * np.repeat(rng.normal(size=30), 8)
        lengths.append((politis_white_length(values), data_driven_length(values, 240)))
    single, with_sums = np.median(lengths, axis=0)
    assert single < with_sums


def test_a_block_has_at_least_the_cube_root_and_at_most_an_eighth_of_the_units() -> None:
    noise, trend = np.random.default_rng(1).normal(size=240), np.arange(240.0)
    assert data_driven_length(noise, 10_000) >= 22
    assert data_driven_length(trend, 10_000) == 1250
    assert data_driven_length(np.arange(12.0), 12) == 1


def test_the_cube_root_is_rounded_up() -> None:
    assert [cube_root_length(rows) for rows in (8, 9, 1000, 10_000)] == [2, 3, 10, 22]
