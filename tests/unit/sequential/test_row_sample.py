import numpy as np
import pytest

from optagent.sequential.row_sample import SIZE, sample_rows, share_in


def rows(first, count, seed=0):
    times = np.arange(first, first + count) * 3600.0
    return (times * 7919 % 5 > 2).astype(np.float64), times


def test_the_share_of_small_sets_is_exact():
    earlier = sample_rows(*rows(0, 100))
    assert share_in(sample_rows(*rows(0, 100)), earlier) == 1.0
    assert share_in(sample_rows(*rows(25, 100)), earlier) == 0.75
    assert share_in(sample_rows(*rows(100, 100)), earlier) == 0.0


@pytest.mark.parametrize("fresh", [0, 35, 650, 1_300])
def test_the_share_of_large_sets_is_estimated_within_three_standard_errors(fresh):
    errors = [
        share_in(sample_rows(*rows(start + fresh, 1_300)), sample_rows(*rows(start, 1_300))) - (1 - fresh / 1_300)
        for start in range(0, 20_000, 1_000)
    ]
    assert np.abs(errors).max() < 3 * 0.5 / SIZE**0.5
    assert abs(np.mean(errors)) < 0.03


def test_a_small_set_within_one_that_is_far_larger_counts_as_seen():
    assert share_in(sample_rows(*rows(90_000, 200)), sample_rows(*rows(0, 100_000))) == 1.0


def test_rows_that_are_alike_are_told_apart_by_their_count_and_in_any_order():
    y = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    assert sample_rows(y, None) == sample_rows(np.sort(y), None)
    assert share_in(sample_rows(np.ones(10), None), sample_rows(np.ones(5), None)) == 0.5


def test_negative_zero_is_zero():
    assert sample_rows(np.array([0.0]), np.array([0.0])) == sample_rows(np.array([-0.0]), np.array([-0.0]))


def test_a_sample_takes_two_kilobytes_however_many_rows_there_are():
    assert len(sample_rows(*rows(0, 50_000))) == 16 * SIZE


def test_a_set_without_rows_counts_as_seen():
    assert share_in("", sample_rows(*rows(0, 10))) == 1.0
