import numpy as np
import pytest

from optagent.analysis.sharpe_ratio import deflated_probability, lucky_ratio, probability_above, sharpe_ratios
from optagent.errors import InvalidRequest


def test_the_lucky_ratio_is_that_of_the_best_of_many_without_skill() -> None:
    best = np.random.default_rng(0).normal(scale=0.1, size=(4000, 50)).max(axis=1)
    assert lucky_ratio(50, 0.01) == pytest.approx(best.mean(), rel=0.02)


def test_more_trials_leave_less_skill_in_the_same_returns() -> None:
    returns = np.random.default_rng(1).normal(0.1, 1, 500)
    probabilities = [deflated_probability(returns, trials, 0.002) for trials in (1, 10, 100, 1000)]
    assert probabilities == sorted(probabilities, reverse=True)
    assert probabilities[0] == probability_above(returns, 0)


def test_the_ratio_of_returns_without_skill_is_above_zero_in_half_of_all_samples() -> None:
    returns = np.random.default_rng(2).standard_t(5, size=(2000, 60))
    above = np.array([probability_above(sample, 0) for sample in returns])
    assert abs((above > 0.95).mean() - 0.05) < 4 * (0.05 * 0.95 / 2000) ** 0.5
    assert abs((above > 0.5).mean() - 0.5) < 4 * (0.25 / 2000) ** 0.5


def test_constant_returns_have_a_ratio_of_zero_and_no_probability() -> None:
    assert sharpe_ratios(np.full((9, 1), 0.1)).tolist() == [0.0]
    with pytest.raises(InvalidRequest, match="the returns are constant"):
        probability_above(np.full(9, 0.1), 0)
    with pytest.raises(InvalidRequest, match="at least 8 periods, got 7"):
        probability_above(np.arange(7.0), 0)


@pytest.mark.parametrize(("trials", "variance"), [(0, 0.1), (5, -0.1), (5, np.nan)])
def test_no_trial_and_no_variance_are_refused(trials: int, variance: float) -> None:
    with pytest.raises(InvalidRequest, match="at least 1 trial and a variance of at least 0 are needed"):
        lucky_ratio(trials, variance)
