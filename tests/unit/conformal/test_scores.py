"""Nonconformity scores: the distance of a value, and 1 minus the probability of a label that is not the first."""

import numpy as np
import pytest

from optagent.conformal.scores import ScoreScale, nonconformity_scores
from optagent.domain.model import Task


def test_a_value_scores_its_distance():
    scores = nonconformity_scores(Task.REGRESSION, np.array([1.0, 2.0]), np.array([3.0, 1.5]))
    np.testing.assert_array_equal(scores, [2.0, 0.5])


def test_a_label_scores_by_its_probability_and_the_most_probable_one_zero():
    binary = nonconformity_scores(Task.BINARY, np.array([0.2, 0.2, 0.5, 0.5]), np.array([0.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(binary, [0.0, 0.8, 0.0, 0.5])
    shares = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    np.testing.assert_allclose(nonconformity_scores(Task.MULTICLASS, shares, np.array([0.0, 2.0])), [0.0, 0.8])


@pytest.mark.parametrize("task", [Task.REGRESSION, Task.BINARY])
def test_the_scale_gives_back_what_lies_on_it(task):
    scores = np.array([0.5, 0.6, 0.75, 0.99])
    scale = ScoreScale(task, 1e-6)
    np.testing.assert_allclose(scale.to_scores(scale.to_scale(scores)), scores)
