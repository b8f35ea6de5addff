from itertools import combinations

import numpy as np
import pytest
from scipy.stats import rankdata

from optagent.analysis.backtest_overfitting import even_blocks, overfitting_probability
from optagent.errors import InvalidRequest


def by_the_paper(returns: np.ndarray, blocks: int) -> float:
    """CSCV written out: the logit of the relative rank, choice by choice."""
    parts, falls = np.array_split(returns, blocks), []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[block] for block in chosen])
        outside = np.concatenate([parts[block] for block in range(blocks) if block not in chosen])
        ratio, other = (half.mean(axis=0) / half.std(axis=0) for half in (inside, outside))
        place = rankdata(other)[ratio.argmax()] / (returns.shape[1] + 1)
        falls.append(np.log(place / (1 - place)) < 0)
    return float(np.mean(falls))


def test_the_probability_is_that_of_the_paper_choice_by_choice() -> None:
    returns = np.random.default_rng(0).normal(size=(83, 10)) + np.linspace(0, 0.2, 10)
    assert overfitting_probability(returns, ratios=True, blocks=8) == pytest.approx(by_the_paper(returns, 8))


def test_what_is_always_best_is_never_overfitted_and_what_changes_sides_always_is() -> None:
    periods = np.arange(16.0)[:, None]
    assert overfitting_probability(periods + np.array([0, 1, 2])) == 0
    one_block_each = np.eye(8)
    assert overfitting_probability(one_block_each, blocks=8) == 1


def test_equal_strategies_fall_to_the_median_which_counts_half() -> None:
    assert overfitting_probability(np.ones((8, 3)), blocks=8) == 0.5


@pytest.mark.parametrize(
    ("returns", "blocks", "says"),
    [
        (np.ones((8, 1)), 8, "at least 2 strategies"),
        (np.ones((8, 2)), 7, "blocks must be even, from 2 to 16 and at most the 8 periods, got 7"),
        (np.ones((8, 2)), 10, "at most the 8 periods, got 10"),
        (np.full((8, 2), np.nan), 8, "finite returns"),
    ],
)
def test_returns_that_cannot_be_halved_are_refused(returns: np.ndarray, blocks: int, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        overfitting_probability(returns, blocks=blocks)


def test_an_odd_number_of_periods_loses_one_block() -> None:
    assert [even_blocks(periods) for periods in (3, 8, 17, 100)] == [2, 8, 16, 16]
