"""Two searches on one cluster: the second is not kept waiting until the first has ended."""

import contextlib
import threading
import time

import numpy as np
import pytest

from optagent.adapters.search.fair_share import FairShare
from optagent.adapters.search.ray_tune import RayTuner
from optagent.domain.model import Task
from optagent.domain.study import Budget, Study, TrialState
from optagent.errors import Cancelled
from optagent.training.families.registry import family_named
from optagent.training.problem import Data, Fold, Problem


@pytest.fixture
def problem() -> Problem:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6_000, 10)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=len(x)) > 0).astype(np.float64)
    where = np.arange(len(x))
    return Problem(
        Data(x, y, tuple(f"f{index}" for index in range(10)), Task.BINARY, n_classes=2),
        (Fold(where[:4_500], where[4_500:]),),
    )


def study(name: str, trials: int) -> Study:
    family = family_named("lightgbm")
    return Study(
        study_id=name,
        model_id="shared",
        task=Task.BINARY,
        metric="auc",
        maximize=True,
        spaces={"lightgbm": family.space(Task.BINARY)},
        defaults={"lightgbm": family.defaults(Task.BINARY)},
        sampler="random",
        stopping="none",
        trials=trials,
        budget=Budget(max_units=9),
    )


def test_a_second_search_gets_its_share_while_the_first_runs(ray_cluster, problem):
    begun, enough = threading.Event(), threading.Event()

    def endless() -> None:
        with contextlib.suppress(Cancelled):
            tuner, asked = RayTuner(ray_cluster), study("first", 100_000)
            tuner.search(asked, problem, on_trial=lambda trial: begun.set(), cancelled=enough.is_set)

    first = threading.Thread(target=endless)
    first.start()
    try:
        assert begun.wait(60)
        outcome = RayTuner(ray_cluster).search(study("second", 4), problem)
        assert [trial.state for trial in outcome.trials] == [TrialState.COMPLETE] * 4
        assert first.is_alive(), "it did not wait for the end of the first"
    finally:
        enough.set()
        first.join(60)


def test_a_share_is_equal_and_at_least_one_trial(ray_cluster):
    with FairShare("a", 4) as alone:
        assert alone.trials() == 4
        with FairShare("b", 4) as other, FairShare("c", 1) as small:
            assert other.trials() == 2
            assert small.trials() == 1
    with FairShare("d", 4) as again:
        assert again.trials() == 4


def test_a_search_that_was_killed_counts_no_more(ray_cluster):
    with FairShare("killed", 4), FairShare("alive", 4, clock=lambda: time.time() + 31) as alive:
        assert alive.trials() == 4
