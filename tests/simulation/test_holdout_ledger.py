"""Repeated looks at one holdout: candidates that learned nothing and are promoted, with a ledger and without.

A candidate is a ridge regression on labels drawn at random. Its interval is that of `loop.gates.evaluate`, widened to
the alpha of its look, all of which is on the side of a proof. Candidates of one holdout are judged on the resamples of
one seed, as the loop does, so that all of them can be scored at once. Measured: of 500 holdouts with 100 candidates
that are as good as the champion, at an alpha of .05, 14 let one past with the ledger and 282 without it, where each
look takes all of alpha.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from optagent.analysis.bootstrap import Resampling, bootstrap_intervals, paired_interval
from optagent.domain.gate import Criterion, Verdict
from optagent.domain.ledger import HoldoutLook
from optagent.domain.model import Task
from optagent.loop.gates.evaluate import resampled_for
from optagent.loop.train.holdout import verdict_of_interval
from optagent.sequential.holdout_ledger import LEAST_RESAMPLED, share_of_look, widen_interval
from optagent.training.metrics import metric_named

ALPHA = 0.05
ROWS, COLUMNS = 500, 40
ACCURACY = metric_named("accuracy", Task.BINARY)


class World:
    """Rows for training and a holdout; `signal` is the weight of the first column in the class."""

    def __init__(self, seed, signal, candidates):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(2, ROWS, COLUMNS))
        y = (signal * x[..., 0] + rng.normal(size=(2, ROWS)) > 0).astype(np.float64)
        coins = (rng.random((ROWS, candidates + 1)) < 0.5).astype(np.float64)
        self.y = y[1]
        self.ignorant = self._predict(x, coins)
        self.decent = self._predict(x, y[0][:, None])[:, 0]

    def _predict(self, x, labels):
        """(rows, labels) predictions between 0 and 1 of the second rows, by ridge regressions on the first."""
        weights = np.linalg.solve(x[0].T @ x[0] + np.eye(COLUMNS), x[0].T @ (2 * labels - 1))
        return 1 / (1 + np.exp(-4 * (x[1] @ weights)))


def improvements(world, champion, candidates, alpha):
    """The paired intervals of accuracy, one for each candidate."""
    hits = ((candidates >= 0.5) == world.y[:, None]).astype(np.float64)
    gains = hits - ((champion >= 0.5) == world.y)[:, None]

    def score_of(gain):
        def score_resamples(y, prediction):
            return lambda counts: counts @ gain / counts.sum(axis=1)

        return lambda y, prediction: float(gain.mean()), score_resamples

    scores = [score_of(np.ascontiguousarray(gain)) for gain in gains.T]
    return bootstrap_intervals(scores, world.y, champion, alpha, Resampling(seed=0))


@cache
def alphas_of_looks(count):
    """The alpha of each look of a line that proves nothing."""
    looks = []
    for number in range(1, count + 1):
        look = HoldoutLook("d1", f"c{number}", "p1", float(number), ALPHA, number=number, model_id="m1")
        looks.append(replace(look, share=share_of_look(looks, look)))
    return [look.alpha_spent for look in looks]


def count_promotions(world, champion, candidates, ledger=True):
    """The number of candidates that the gate lets past the champion, in the order in which they are judged."""
    intervals = improvements(world, champion, candidates, resampled_for(Criterion.PROOF, ALPHA))
    alphas = alphas_of_looks(candidates.shape[1]) if ledger else [ALPHA] * candidates.shape[1]
    bounds = [widen_interval(each, 2 * alpha, ROWS - 1) for each, alpha in zip(intervals, alphas, strict=True)]
    return sum(verdict_of_interval(each) is Verdict.PASS for each in bounds)


def test_what_is_simulated_is_the_interval_of_the_loop():
    world = World(0, 1.0, 3)
    how = Resampling(seed=0)
    for number, interval in enumerate(improvements(world, world.decent, world.ignorant, LEAST_RESAMPLED)):
        same = paired_interval(
            ACCURACY.score, True, world.y, world.ignorant[:, number], world.decent, LEAST_RESAMPLED, how,
            ACCURACY.resampled,
        )  # fmt: skip
        assert (interval.estimate, interval.low, interval.high) == pytest.approx((same.estimate, same.low, same.high))


def test_of_a_thousand_candidates_that_learned_nothing_none_is_promoted_past_a_decent_champion():
    world = World(1, 2.0, 1_000)
    assert ACCURACY.score(world.y, world.decent) > 0.7
    assert count_promotions(world, world.decent, world.ignorant[:, 1:]) == 0


def test_of_a_thousand_candidates_that_learned_nothing_none_is_promoted_past_one_that_learned_nothing_either():
    world = World(2, 0.0, 1_000)
    assert count_promotions(world, world.ignorant[:, 0], world.ignorant[:, 1:]) == 0
    assert count_promotions(world, world.ignorant[:, 0], world.ignorant[:, 1:], ledger=False) > 0


def test_the_chance_that_any_of_a_hundred_is_promoted_is_alpha_at_most_and_far_more_without_the_ledger():
    runs, with_ledger, without_ledger = 60, 0, 0
    for seed in range(runs):
        world = World(100 + seed, 0.0, 100)
        champion, candidates = world.ignorant[:, 0], world.ignorant[:, 1:]
        with_ledger += count_promotions(world, champion, candidates) > 0
        without_ledger += count_promotions(world, champion, candidates, ledger=False) > 0
    most = binom.ppf(0.999, runs, ALPHA)
    assert with_ledger <= most < without_ledger


def test_a_candidate_that_is_really_better_gets_past_at_its_hundredth_look():
    world = World(3, 2.0, 99)
    champion = np.where(np.random.default_rng(3).random(ROWS) < 0.2, 1 - world.decent, world.decent)
    candidates = np.column_stack([world.ignorant[:, 1:], world.decent])
    assert count_promotions(world, champion, candidates) == 1
