"""Policies on the same rows: intervals, shares, and which one is recommended."""

from collections.abc import Mapping

import numpy as np
import pytest

from optagent.analysis.bootstrap import Resampling, paired_interval
from optagent.backtest.compare import PolicyPredictions, advise, period_of, score_or_none, standings_of
from optagent.domain.backtest import Standing
from optagent.domain.model import Task
from optagent.domain.study import Interval
from optagent.errors import InvalidData
from optagent.training.metrics import metric_named

AUC = metric_named("auc", Task.BINARY)
RMSE = metric_named("rmse", Task.REGRESSION)


def answers(noise: Mapping[str, float], rows: int = 600, seed: int = 0) -> PolicyPredictions:
    rng = np.random.default_rng(seed)
    y = (rng.random(rows) < 0.5).astype(np.float64)
    time = np.arange(rows, dtype=np.float64)
    return PolicyPredictions(y, time, {name: y + rng.normal(scale=scale, size=rows) for name, scale in noise.items()})


def groups(policies: PolicyPredictions, length: float = 20.0) -> np.ndarray:
    return period_of(policies.time, 0.0, length)


def standing(name: str, low: float, best_in: float = 0.5, within_noise: bool = True) -> Standing:
    return Standing(name, Interval(low + 0.05, low, low + 0.1, 0.05), best_in, within_noise)


def test_rows_fall_into_periods_that_begin_with_the_replay() -> None:
    assert period_of(np.array([10.0, 19.9, 20.0, 35.0]), 10.0, 10.0).tolist() == [0, 0, 1, 2]


def test_an_undefined_score_is_none() -> None:
    assert score_or_none(AUC, np.ones(3), np.ones(3)) is None
    assert score_or_none(AUC, np.empty(0), np.empty(0)) is None


def test_the_interval_is_the_paired_one() -> None:
    policies = answers({"never": 2.0, "better": 1.0})
    (better,) = standings_of([policies], AUC, groups(policies), seed=3, resamples=200)
    how = Resampling(resamples=200, seed=3, time_ordered=True, groups=groups(policies))
    predictions = (policies.predictions["better"], policies.predictions["never"])
    assert better.against_never == paired_interval(AUC.score, True, policies.y, *predictions, 0.05, how, AUC.resampled)


def test_a_lower_error_is_a_gain() -> None:
    policies = answers({"never": 2.0, "better": 1.0})
    (better,) = standings_of([policies], RMSE, groups(policies), resamples=200)
    assert better.against_never.low > 0
    assert better.best_in == 1.0


def test_equals_share_the_resamples_in_which_they_are_the_best() -> None:
    policies = answers({"never": 2.0, "a": 1.0})
    same = PolicyPredictions(policies.y, policies.time, {**policies.predictions, "b": policies.predictions["a"]})
    assert [one.best_in for one in standings_of([same], AUC, groups(same), resamples=100)] == [0.5, 0.5]


def test_the_same_seed_gives_the_same_standings() -> None:
    policies = answers({"never": 1.5, "a": 1.4, "b": 1.3})
    first, again = (standings_of([policies], AUC, groups(policies), seed=5, resamples=100) for _ in range(2))
    assert first == again


def test_one_period_says_nothing() -> None:
    policies = answers({"never": 2.0, "a": 1.0})
    with pytest.raises(InvalidData, match="at least 2 periods"):
        standings_of([policies], AUC, np.zeros(600, dtype=np.int64))


def test_rows_of_one_class_say_nothing_of_a_ranking() -> None:
    policies = PolicyPredictions(np.ones(40), np.arange(40.0), {"never": np.ones(40), "a": np.ones(40)})
    with pytest.raises(InvalidData, match="auc"):
        standings_of([policies], AUC, period_of(policies.time, 0.0, 4.0))


def test_answers_that_do_not_fit_the_rows_are_refused() -> None:
    with pytest.raises(InvalidData, match="a: 2 answers and 3 times for 3 rows"):
        PolicyPredictions(np.ones(3), np.ones(3), {"never": np.ones(3), "a": np.ones(2)})
    with pytest.raises(InvalidData, match="'never' are needed"):
        PolicyPredictions(np.ones(3), np.ones(3), {"a": np.ones(3)})


def test_of_policies_that_cannot_be_told_apart_the_one_of_the_fewest_retrainings_is_recommended() -> None:
    advice = advise([standing("often", 0.05, 0.7), standing("seldom", 0.04, 0.3)], {"often": 50, "seldom": 5})
    assert (advice.name, advice.confidence) == ("seldom", 0.3)
    assert "often gains" in advice.words


def test_a_policy_that_is_worse_beyond_noise_is_not_recommended_for_being_cheap() -> None:
    advice = advise([standing("often", 0.05), standing("seldom", 0.01, 0.0, False)], {"often": 50, "seldom": 5})
    assert advice.name == "often"


def test_nothing_is_recommended_where_no_policy_is_shown_to_be_better() -> None:
    advice = advise([standing("often", -0.01, 0.8)], {"often": 50})
    assert advice.name == "never"
    assert advice.confidence == pytest.approx(0.2)
    assert "no policy is shown to be better" in advice.words


def test_policies_that_change_nothing_are_seldom_recommended() -> None:
    """Among 40 comparisons with noise of the same size, one is expected to look better at a 95 % interval."""
    wrong = 0
    for seed in range(40):
        policies = answers({"never": 1.0, "a": 1.0}, rows=300, seed=seed)
        standings = standings_of([policies], AUC, groups(policies, 10.0), seed=seed, resamples=200)
        wrong += advise(standings, {"a": 1}).name == "a"
    assert wrong <= 5  # of binomial(40, .025), more has a probability of .0003


def seeds_of(spread: float, seeds: int = 4) -> list[PolicyPredictions]:
    """One history under several seeds; the policy `lucky` is as much better as its seed has it."""
    rng = np.random.default_rng(0)
    first = answers({"never": 2.0})
    noise = rng.normal(size=len(first.y))
    return [
        PolicyPredictions(
            first.y,
            first.time,
            {"never": first.y + 2 * noise, "lucky": first.y + (1.9 + luck) * noise},
        )
        for luck in np.linspace(-spread, spread, seeds)
    ]


def test_the_spread_of_seeds_widens_the_interval() -> None:
    alike, spread = ([standing.against_never for standing in standings_of(
        seeds_of(width), RMSE, groups(answers({"never": 2.0})), resamples=400
    )] for width in (0.0, 0.4))  # fmt: skip
    assert spread[0].high - spread[0].low > 2 * (alike[0].high - alike[0].low)
    assert alike[0].low > 0 > spread[0].low


def test_seeds_that_came_out_alike_are_as_good_as_one() -> None:
    paths = seeds_of(0.0)
    blocks = groups(paths[0])
    (one,) = standings_of(paths[:1], RMSE, blocks, resamples=200)
    (several,) = standings_of(paths, RMSE, blocks, resamples=200)
    assert several.against_never.low == pytest.approx(one.against_never.low)
    assert several.against_never.high == pytest.approx(one.against_never.high)


def test_policies_keep_their_pairing_over_seeds() -> None:
    """A seed whose first version is bad is bad for all policies: that is no spread of their difference."""
    base = answers({"never": 2.0, "a": 1.9})
    paths = [
        PolicyPredictions(base.y, base.time, {name: base.y + k * (p - base.y) for name, p in base.predictions.items()})
        for k in (0.9, 1.0, 1.1)
    ]
    (alone,) = standings_of([base], RMSE, groups(base), resamples=400)
    (several,) = standings_of(paths, RMSE, groups(base), resamples=400)
    width = several.against_never.high - several.against_never.low
    assert width < 1.5 * (alone.against_never.high - alone.against_never.low)


def test_the_more_policies_are_chosen_among_the_wider_are_their_intervals() -> None:
    alone, several = answers({"never": 2.0, "a": 1.9}), answers({"never": 2.0, "a": 1.9, "b": 2.0, "c": 2.0, "d": 2.0})
    several = PolicyPredictions(alone.y, alone.time, {**several.predictions, **alone.predictions})
    (one,) = standings_of([alone], RMSE, groups(alone))
    of_five = next(each for each in standings_of([several], RMSE, groups(alone)) if each.name == "a")
    assert of_five.against_never.low < one.against_never.low < one.against_never.high < of_five.against_never.high
    assert of_five.against_never.alpha == one.against_never.alpha
