"""The best of a thousand strategies without skill is not said to have any."""

import numpy as np
import pytest
from scipy.stats import binom

from tests.performance.decisions.selection import (
    ALPHA,
    mean_overfitting,
    search_shows_skill,
    sharpe_misses,
    skill_shown,
)

RUNS = 40


def test_the_deflated_ratio_finds_skill_in_noise_no_more_often_than_alpha_and_the_plain_one_always_does() -> None:
    assert skill_shown(RUNS) * RUNS <= binom.ppf(0.999, RUNS, ALPHA)
    assert skill_shown(10, deflated=False) == 1.0


@pytest.mark.parametrize("world", [{"strategies": 20, "days": 250}, {"strategies": 100, "days": 16}])
def test_few_strategies_and_few_blocks_keep_to_alpha_too(world: dict[str, int]) -> None:
    runs = 400
    assert skill_shown(runs, **world) * runs <= binom.ppf(0.999, runs, ALPHA)


@pytest.mark.parametrize(("trials", "common"), [(5, 0.0), (30, 0.0), (30, 0.8)])
def test_the_trials_of_a_search_without_skill_show_none(trials: int, common: float) -> None:
    runs = 100
    assert search_shows_skill(runs, trials, common) * runs <= binom.ppf(0.999, runs, ALPHA)


def test_trials_that_differ_in_skill_do_not_hide_that_of_the_best() -> None:
    assert search_shows_skill(20, skill=1.0) >= 0.9


def test_true_skill_is_found_among_a_thousand() -> None:
    assert skill_shown(10, skill=0.2) >= 0.7


@pytest.mark.parametrize("world", [{}, {"phi": 0.3}, {"tails": 4}])
def test_the_interval_of_a_sharpe_ratio_holds_the_true_one(world: dict[str, float]) -> None:
    runs = 60
    assert sharpe_misses(runs, **world) * runs <= binom.ppf(0.999, runs, ALPHA)  # type: ignore[arg-type]


def test_overfitting_is_a_half_on_noise_and_none_where_one_strategy_is_truly_better() -> None:
    noise = np.mean([mean_overfitting(10, strategies=100), mean_overfitting(3)])
    assert noise == pytest.approx(0.5, abs=0.12)
    assert mean_overfitting(3, skill=0.3) < 0.02
