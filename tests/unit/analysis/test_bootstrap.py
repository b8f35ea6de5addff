from dataclasses import replace

import numpy as np
import pytest

from optagent.analysis.bootstrap import Resampling, bootstrap_interval, draws, paired_interval, with_block
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.metrics import METRICS

AUC, MAE = METRICS["auc"], METRICS["mae"]


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = (rng.random(2000) < 0.3).astype(np.float64)
    good = 0.5 * y + rng.random(2000)
    return y, good, good + rng.normal(0, 0.5, 2000)


def test_the_fast_path_gives_the_same_interval(scores: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    y, good, _ = scores
    how = Resampling(resamples=200, time_ordered=True)
    slow = bootstrap_interval(AUC.score, y, good, 0.05, how)
    fast = bootstrap_interval(AUC.score, y, good, 0.05, how, AUC.resampled)
    assert (slow.estimate, slow.low, slow.high) == pytest.approx((fast.estimate, fast.low, fast.high), abs=1e-12)
    assert slow.low < slow.estimate < slow.high


def test_an_improvement_is_positive_for_metrics_of_either_direction(
    scores: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    y, good, worse = scores
    for metric in (AUC, MAE):
        better = paired_interval(metric.score, metric.maximize, y, good, worse, 0.05, None, metric.resampled)
        assert better.low > 0
        assert better.estimate == pytest.approx(abs(metric.score(y, good) - metric.score(y, worse)))
        reverse = paired_interval(metric.score, metric.maximize, y, worse, good, 0.05, None, metric.resampled)
        assert reverse.high < 0


def test_pairing_is_tighter_than_two_separate_intervals(scores: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    y, good, _ = scores
    nearly = good + np.random.default_rng(1).normal(0, 0.02, len(y))
    alone = bootstrap_interval(AUC.score, y, good, 0.05, None, AUC.resampled)
    paired = paired_interval(AUC.score, True, y, nearly, good, 0.05, None, AUC.resampled)
    assert (paired.high - paired.low) < (alone.high - alone.low) / 5


def test_two_equal_models_differ_by_exactly_nothing(scores: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    y, good, _ = scores
    same = paired_interval(AUC.score, True, y, good, good.copy(), 0.05, None, AUC.resampled)
    assert (same.estimate, same.low, same.high) == (0, 0, 0)


def test_the_seed_decides_the_interval(scores: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    y, good, _ = scores
    one, again, other = (
        bootstrap_interval(AUC.score, y, good, 0.05, Resampling(seed=seed), AUC.resampled) for seed in (1, 1, 2)
    )
    assert one == again != other


@pytest.mark.parametrize("fast", [True, False])
def test_resamples_of_one_class_are_drawn_again(fast: bool) -> None:
    y = np.zeros(30)
    y[[3, 20]] = 1  # about one resample in eight has neither
    prediction = np.linspace(0, 1, 30)
    interval = bootstrap_interval(AUC.score, y, prediction, 0.05, Resampling(200), AUC.resampled if fast else None)
    assert 0 <= interval.low < interval.high <= 1


def test_an_interval_on_mostly_undefined_resamples_is_refused_with_their_count() -> None:
    def of_distinct_rows(_: np.ndarray, prediction: np.ndarray) -> float:
        if len(np.unique(prediction)) < len(prediction):
            raise InvalidData("a row stands twice")
        return 0.0

    rows = np.arange(40.0)
    with pytest.raises(InvalidData, match="undefined on 400 of 400 resamples of 40 rows"):
        bootstrap_interval(of_distinct_rows, rows, rows, 0.05, Resampling(200))


def test_nonsense_is_refused() -> None:
    y = np.arange(10.0)
    with pytest.raises(InvalidRequest, match="alpha must be between 0 and 1, got 1"):
        bootstrap_interval(MAE.score, y, y, 1)
    with pytest.raises(InvalidData, match="at least 2 rows, got 1"):
        bootstrap_interval(MAE.score, y[:1], y[:1], 0.05)
    with pytest.raises(InvalidData, match="at least 2 groups"):
        bootstrap_interval(MAE.score, y, y, 0.05, Resampling(groups=np.zeros(10)))
    with pytest.raises(InvalidData, match="3 groups for 10 rows"):
        bootstrap_interval(MAE.score, y, y, 0.05, Resampling(groups=np.arange(3)))
    with pytest.raises(InvalidRequest, match="resamples"):
        Resampling(resamples=0)
    with pytest.raises(InvalidRequest, match="block"):
        Resampling(block=5)


def of_mean(values: np.ndarray):  # type: ignore[no-untyped-def]
    return lambda counts: counts @ values / counts.sum(axis=1)


def stretches(rows: int, length: int) -> np.ndarray:
    """Values that are alike for `length` neighbours."""
    return np.repeat(np.random.default_rng(0).normal(size=rows // length), length)


def block_for(values: np.ndarray) -> int:
    block = with_block(Resampling(time_ordered=True), [of_mean(values)], len(values)).block
    assert block is not None
    return block


def test_rows_that_hang_together_are_drawn_in_longer_blocks() -> None:
    assert 13 <= block_for(stretches(2000, 1)) < 100  # 13 is the cube root of the rows
    assert 100 < block_for(stretches(2000, 50)) <= 250


def test_the_block_follows_the_difference_and_not_the_scores_that_it_is_of() -> None:
    common, noise = stretches(1000, 50), np.random.default_rng(1).normal(0, 0.1, size=(2, 1000))
    one, other = (of_mean(common + each) for each in noise)
    paired = with_block(Resampling(time_ordered=True), [lambda counts: one(counts) - other(counts)], 1000).block
    assert paired == block_for(noise[0] - noise[1]) < block_for(common) / 2


def test_the_longest_block_of_several_scores_is_for_all() -> None:
    short, long = (of_mean(stretches(1000, length)) for length in (1, 40))
    ordered = Resampling(time_ordered=True)
    assert with_block(ordered, [short, long], 1000) == with_block(ordered, [long], 1000)


def test_a_block_that_was_asked_for_is_kept() -> None:
    how = Resampling(time_ordered=True, block=7)
    assert with_block(how, [of_mean(stretches(1000, 40))], 1000) is how


def test_few_groups_make_an_interval_wider() -> None:
    rng = np.random.default_rng(2)
    values = np.repeat(rng.normal(size=8), 25)
    few = Resampling(resamples=2000, groups=np.repeat(np.arange(8), 25))
    wide, narrow = (
        bootstrap_interval(lambda _, p: p.mean(), values, values, 0.1, replace(few, rules=rules)) for rules in (2, 1)
    )
    # Student's 1.89 of 7 degrees of freedom times the root of 8 / 7, for the normal law's 1.64.
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(1.23, abs=0.1)


def test_one_group_that_holds_most_rows_counts_for_little_more_than_one() -> None:
    values = np.random.default_rng(3).normal(size=200)
    equal, unequal = np.repeat(np.arange(20), 10), np.minimum(np.arange(200), 19)
    of_equal, of_unequal = (
        bootstrap_interval(lambda _, p: p.mean(), values, values, 0.1, Resampling(groups=groups))
        for groups in (equal, unequal)
    )
    assert of_unequal.high - of_unequal.low > 2 * (of_equal.high - of_equal.low)


def test_percentiles_beyond_all_resamples_are_reached_by_the_normal_law() -> None:
    values = np.random.default_rng(4).normal(size=100)
    how = Resampling(resamples=200)
    usual, strict = (bootstrap_interval(lambda _, p: p.mean(), values, values, alpha, how) for alpha in (0.05, 1e-6))
    assert (strict.high - strict.low) / (usual.high - usual.low) == pytest.approx(4.9 / 1.96, rel=0.25)


def test_the_first_rules_give_the_percentiles_of_cube_root_blocks() -> None:
    values = stretches(1000, 40)
    how = Resampling(resamples=200, time_ordered=True, rules=1)
    before = bootstrap_interval(lambda _, p: p.mean(), values, values, 0.05, how)
    scores = np.concatenate([of_mean(values)(counts) for counts in draws(1000, replace(how, block=10))])[:200]
    assert (before.low, before.high) == pytest.approx(tuple(np.quantile(scores, [0.025, 0.975])))
    with pytest.raises(InvalidRequest, match="rules must be between 1 and 2, got 3"):
        Resampling(rules=3)
