import numpy as np
import pytest
from scipy.stats import norm

from optagent.domain.study import Interval
from optagent.sequential.selected_gain import corrected_gain


def an_interval(estimate, spread, alpha):
    half = norm.isf(alpha / 2) * spread
    return Interval(estimate, estimate - half, estimate + half, alpha)


@pytest.mark.parametrize("gain", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize(("alpha", "required"), [(0.01, 0.0), (0.4, 0.0), (0.01, -1.0)])
def test_half_of_the_corrected_gains_that_pass_are_above_the_true_one(gain, alpha, required):
    estimates = np.random.default_rng(3).normal(gain, 1.0, 40_000)
    passed = estimates[estimates - norm.isf(alpha / 2) > required]
    corrected = [corrected_gain(an_interval(each, 1.0, alpha), required) for each in passed[:1_500]]
    assert np.mean(np.array(corrected) > gain) == pytest.approx(0.5, abs=0.06)
    assert np.mean(passed > gain) > 0.55 or gain == 3.0


def test_a_gain_far_above_the_limit_stays_as_it_is():
    assert corrected_gain(an_interval(9.0, 1.0, 0.01), 0.0) == pytest.approx(9.0, abs=1e-3)


def test_a_gain_that_just_passed_is_no_more_than_was_required():
    assert corrected_gain(an_interval(2.58, 1.0, 0.01), 0.0) == 0.0
    assert corrected_gain(an_interval(2.58 - 0.1, 1.0, 0.01), -0.1) == -0.1


def test_a_corrected_gain_lies_between_what_was_required_and_the_estimate():
    for estimate in np.linspace(2.6, 8.0, 30):
        assert 0.0 <= corrected_gain(an_interval(estimate, 1.0, 0.01), 0.0) <= estimate


def test_models_that_never_differ_have_nothing_to_correct():
    assert corrected_gain(Interval(0.2, 0.2, 0.2, 0.01), 0.0) == 0.2
