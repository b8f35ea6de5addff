"""A search begins before its cluster is there: its first trials are trials of the study like any other."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optagent.adapters.search.ray_tune import RayTuner
from optagent.adapters.search.study_history import StudyHistory
from optagent.domain.model import Task
from optagent.domain.study import Budget, Study, Trial, TrialState
from optagent.errors import Unavailable
from optagent.training.families.registry import family_named
from optagent.training.problem import Data, Fold, Problem


class SlowCluster:
    """A cluster that does not come up before `opens` is set, and then fails."""

    def __init__(self) -> None:
        self.opens = threading.Event()

    def check_address(self) -> None:
        pass

    def connect(self) -> None:
        self.opens.wait(60)
        raise Unavailable("no Ray cluster at this machine")

    def close(self) -> None: ...


@pytest.fixture
def cluster() -> Iterator[SlowCluster]:
    slow = SlowCluster()
    yield slow
    slow.opens.set()


@pytest.fixture(autouse=True)
def without_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """No gateway on this machine, whatever other tests run."""
    monkeypatch.setattr("optagent.adapters.search.ray_tune.has_gateway", lambda: False)


@pytest.fixture
def problem() -> Problem:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(240, 4)).astype(np.float32)
    y = (x[:, 0] + draw.normal(scale=0.5, size=240) > 0).astype(np.float64)
    rows = np.arange(240)
    folds = (Fold(rows[:80], rows[80:160]), Fold(rows[:160], rows[160:]))
    return Problem(Data(x, y, ("a", "b", "c", "d"), Task.BINARY, n_classes=2), folds)


FAMILY = family_named("linear")
STUDY = Study(
    study_id="early",
    model_id="m",
    task=Task.BINARY,
    metric="auc",
    maximize=True,
    spaces={FAMILY.name: FAMILY.space(Task.BINARY)},
    defaults={FAMILY.name: FAMILY.defaults(Task.BINARY)},
    trials=4,
    budget=Budget(grace_units=27),
    kept_predictions=2,
)


def begin(cluster: Any, url: str | None = None) -> RayTuner:
    tuner = RayTuner(cluster, url)
    tuner.start(Task.BINARY, [FAMILY.name])
    return tuner


def test_they_are_kept_as_any_other_and_a_resumed_search_trains_none_of_them_again(
    cluster: SlowCluster, problem: Problem, tmp_path: Path
):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    tuner, told = begin(cluster, url), list[Trial]()
    outcome = tuner.search(STUDY, tuner.share(problem), on_trial=told.append)
    assert list(outcome.trials) == told
    assert [trial.number for trial in told] == [0, 1, 2, 3]
    assert dict(told[0].params) == dict(STUDY.defaults[FAMILY.name])
    assert all(trial.state.has_score and trial.measurements and trial.duration_s > 0 for trial in told)
    assert not outcome.timed_out
    best = outcome.best(maximize=True)
    assert best is not None
    assert [len(part) for part in outcome.predictions[best.number]] == [80, 80]
    assert StudyHistory(url).study("early").trials == outcome.trials

    later: list[Trial] = []
    resumed = begin(cluster, url).search(replace(STUDY, trials=6), problem, on_trial=later.append)
    assert list(resumed.trials[:4]) == told
    assert [trial.number for trial in later] == [4, 5]
    earlier = {trial.params_key for trial in told}
    assert not any(trial.params_key in earlier for trial in later)


def test_a_cluster_that_fails_to_start_ends_the_search_with_its_error_and_keeps_their_results(
    cluster: SlowCluster, problem: Problem
):
    told: list[Trial] = []

    def fail(trial: Trial) -> None:
        told.append(trial)
        cluster.opens.set()

    with pytest.raises(Unavailable, match="no Ray cluster"):
        begin(cluster).search(replace(STUDY, trials=100_000), problem, on_trial=fail)
    assert told[0].state is TrialState.COMPLETE


def test_they_end_with_the_time_of_the_search(cluster: SlowCluster, problem: Problem):
    over = threading.Event()
    outcome = begin(cluster).search(
        replace(STUDY, trials=100_000), problem, on_trial=lambda trial: over.set(), is_over=over.is_set
    )
    assert outcome.timed_out
    assert outcome.trials[0].state is TrialState.COMPLETE
    assert len(outcome.trials) < 100_000
