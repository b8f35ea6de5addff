"""Fronts, their order, and the volume they cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from optagent.analysis.pareto import dominates, fronts, hypervolume, positions

CLOUD = arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(0, 5).map(float))


@given(CLOUD)
def test_a_point_of_the_first_front_is_beaten_by_none_and_the_others_by_one_of_the_front_before(points):
    rank, beats = fronts(points), dominates(points)
    for index in range(len(points)):
        beaten_by = np.flatnonzero(beats[:, index])
        if rank[index] == 0:
            assert not len(beaten_by)
        else:
            assert (rank[beaten_by] == rank[index] - 1).any()


@given(CLOUD)
def test_positions_are_a_ranking_in_which_no_worse_front_comes_first(points):
    place, rank = positions(points), fronts(points)
    assert sorted(place) == list(range(len(points)))
    assert list(rank[np.argsort(place)]) == sorted(rank)


@given(CLOUD)
def test_hypervolume_is_what_counting_cells_gives(points):
    cells = np.stack(np.meshgrid(*[np.arange(5) + 0.5] * points.shape[1], indexing="ij"), -1).reshape(
        -1, points.shape[1]
    )
    covered = (cells[:, None, :] < points[None, :, :]).all(axis=2).any(axis=1).sum()
    assert hypervolume(points, np.zeros(points.shape[1])) == pytest.approx(covered)


def test_the_ends_of_a_front_come_before_its_middle():
    points = np.array([[0.0, 1.0], [0.5, 0.5], [0.45, 0.55], [1.0, 0.0]])
    assert set(positions(points)[[0, 3]].tolist()) == {0, 1}
