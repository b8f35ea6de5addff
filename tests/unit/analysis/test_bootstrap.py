import numpy as np
import pytest

from optagent.analysis.bootstrap import Resampling, block_length, bootstrap_interval, paired_interval
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


def test_the_default_block_is_the_cube_root_rounded_up() -> None:
    assert [block_length(rows) for rows in (8, 9, 1000, 10_000)] == [2, 3, 10, 22]
