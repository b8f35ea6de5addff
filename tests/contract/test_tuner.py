"""Any tuner does every trial that was asked for, survives those that fail, and stops when it has to."""

import time
from dataclasses import dataclass, replace

import numpy as np
import pytest

from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.adapters.search.ray_tune import RayTuner
from optagent.domain.model import Task
from optagent.domain.space import Categorical, SearchSpace
from optagent.domain.study import Budget, Objective, Progress, SearchOutcome, Study, Trial, TrialState
from optagent.errors import Cancelled
from optagent.ports import Tuner
from optagent.training.families.registry import family_named
from optagent.training.problem import Data, Fold, Problem


@pytest.fixture(scope="module", params=["in_memory", "ray_tune"])
def tuner(request: pytest.FixtureRequest) -> Tuner:
    if request.param == "in_memory":
        return SequentialTuner()
    return RayTuner(request.getfixturevalue("ray_cluster"))


@pytest.fixture(scope="module")
def problem() -> Problem:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 4)).astype(np.float32)
    y = (x[:, 0] + rng.normal(scale=0.5, size=240) > 0).astype(np.float64)
    rows = np.arange(240)
    folds = (Fold(rows[:80], rows[80:160]), Fold(rows[:160], rows[160:]))
    return Problem(Data(x, y, ("a", "b", "c", "d"), Task.BINARY, n_classes=2), folds)


def a_study(study_id: str) -> Study:
    family = family_named("linear")
    return Study(
        study_id=study_id,
        model_id="m",
        task=Task.BINARY,
        metric="auc",
        maximize=True,
        spaces={family.name: family.space(Task.BINARY)},
        defaults={family.name: family.defaults(Task.BINARY)},
        trials=5,
        timeout_s=120.0,
        budget=Budget(grace_units=27),
    )


@pytest.fixture
def study(request: pytest.FixtureRequest) -> Study:
    return a_study(f"study-{abs(hash(request.node.name)):x}")


@dataclass
class Searched:
    """A study of five trials, and what its search told."""

    study: Study
    outcome: SearchOutcome
    progress: list[Progress]
    told: list[Trial]


@pytest.fixture(scope="module")
def searched(tuner: Tuner, problem: Problem) -> Searched:
    """One search for all that does not depend on how it was asked for: a new one loads its workers for seconds."""
    plain = a_study("searched")
    study = replace(
        plain,
        champion=("linear", {**plain.defaults["linear"], "C": 0.0123}),
        others=(Objective("latency_p99_ms", False), Objective("size_mb", False), Objective("log_loss", False)),
        concurrency=1,
    )
    progress: list[Progress] = []
    told: list[Trial] = []
    outcome = tuner.search(study, problem, on_progress=progress.append, on_trial=told.append)
    return Searched(study, outcome, progress, told)


def test_every_trial_has_its_gains_in_blocks_of_the_validation_rows(searched):
    scored = [trial for trial in searched.outcome.trials if trial.state.has_score]
    assert {len(trial.block_gains) for trial in scored} == {8}  # 160 rows, at least 20 in each
    assert all(np.mean(trial.block_gains) > 0 for trial in scored)


def test_every_trial_is_done_once_and_the_last_progress_is_the_whole(searched):
    outcome, progress = searched.outcome, searched.progress
    assert sorted(trial.number for trial in outcome.trials) == [0, 1, 2, 3, 4]
    assert list(outcome.trials) == searched.told
    assert outcome.best(maximize=True).score > 0.8
    assert not outcome.timed_out
    assert progress[-1].trials_done == 5
    assert progress[-1].best_score == outcome.best(maximize=True).score


def test_the_champion_is_tried_before_the_defaults(searched):
    first, second = (trial for trial in searched.outcome.trials if trial.number < 2)
    assert dict(first.params) == searched.study.champion[1]
    assert dict(second.params) == dict(searched.study.defaults["linear"])


def test_every_objective_is_measured_on_the_model_of_each_trial(searched):
    for trial in searched.outcome.trials:
        assert list(trial.others) == ["latency_p99_ms", "size_mb", "log_loss"]
        assert all(value > 0 for value in trial.others.values())


def test_the_same_seed_one_trial_at_a_time_gives_the_same_trials_the_defaults_first(tuner, study, problem):
    def search_again(study_id: str) -> list[tuple]:
        outcome = tuner.search(replace(study, study_id=study_id, concurrency=1), problem)
        return [(trial.number, dict(trial.params), trial.state, trial.score, trial.rounds) for trial in outcome.trials]

    once = search_again(f"{study.study_id}-a")
    assert once == search_again(f"{study.study_id}-b")
    assert once[0][:2] == (0, dict(study.defaults["linear"]))


def test_a_trial_that_cannot_be_trained_is_recorded_and_the_others_go_on(tuner, study, problem):
    family = family_named("lightgbm")
    broken = {"num_leaves": Categorical("num_leaves", (31, -3))}
    space = SearchSpace(tuple(broken.get(item.name, item) for item in family.space(Task.BINARY)))
    study = replace(study, spaces={"lightgbm": space}, defaults={}, trials=8, sampler="random", concurrency=1)
    outcome = tuner.search(study, problem)
    assert len(outcome.trials) == 8
    for trial in outcome.trials:
        if trial.params["num_leaves"] == -3:
            assert (trial.state, trial.score) == (TrialState.INFEASIBLE, None)
            assert "num_leaves" in trial.error
        else:
            assert trial.state.has_score
    assert 0 < outcome.count(TrialState.INFEASIBLE) < 8


def test_the_time_limit_ends_a_search_with_what_it_has(tuner, study, problem):
    started_at = time.monotonic()
    outcome = tuner.search(replace(study, trials=100_000, timeout_s=3.0, concurrency=1), problem)
    assert outcome.timed_out
    assert time.monotonic() - started_at < 25
    assert len(outcome.trials) < 100_000


def test_a_search_that_is_cancelled_stops(tuner, study, problem):
    done: list[Trial] = []
    with pytest.raises(Cancelled, match="was cancelled after"):
        tuner.search(replace(study, trials=100_000), problem, on_trial=done.append, cancelled=lambda: len(done) >= 2)
    assert len(done) < 1000


def test_a_trial_that_takes_too_long_ends_alone(tuner, study, problem):
    if isinstance(tuner, SequentialTuner):
        pytest.skip("only workers have limits of their own")
    slow = family_named("extra_trees")
    study = replace(
        study,
        spaces={"linear": study.spaces["linear"], "extra_trees": slow.space(Task.BINARY)},
        defaults={"linear": study.defaults["linear"], "extra_trees": slow.defaults(Task.BINARY)},
        trials=2,
        trial_timeout_s=0.05,
        concurrency=1,
    )
    outcome = tuner.search(study, problem)
    stopped = next(trial for trial in outcome.trials if trial.family == "extra_trees")
    assert (stopped.state, stopped.score) == (TrialState.INFEASIBLE, None)
    assert "0.05 s that a trial may take" in stopped.error


def test_a_trial_that_takes_too_much_memory_ends_alone_and_leaves_none_behind(tuner, study, problem):
    if isinstance(tuner, SequentialTuner):
        pytest.skip("only workers have limits of their own")
    outcome = tuner.search(replace(study, trials=2, trial_memory_mb=1.0, concurrency=1), problem)
    assert [trial.state for trial in outcome.trials] == [TrialState.INFEASIBLE] * 2
    assert all("1 MB that a trial may take" in trial.error for trial in outcome.trials)


@pytest.mark.parametrize("rule", ["asha", "median", "none"])
def test_a_rule_of_early_stopping_stops_poor_trials_and_leaves_the_best(ray_cluster, problem, rule):
    family = family_named("lightgbm")
    study = replace(
        a_study(f"stopped-by-{rule}"),
        spaces={family.name: family.space(Task.BINARY)},
        defaults={family.name: family.defaults(Task.BINARY)},
        sampler="random",
        trials=30,
        stopping=rule,
        budget=Budget(grace_units=1, reduction_factor=2),
    )
    outcome = RayTuner(ray_cluster).search(study, problem)
    stopped = [trial for trial in outcome.trials if trial.state is TrialState.PRUNED]
    complete = [trial for trial in outcome.trials if trial.state is TrialState.COMPLETE]
    assert len(stopped) + len(complete) == 30
    assert bool(stopped) == (rule != "none")
    if rule == "median":
        assert outcome.trials.index(stopped[0]) >= 5, "five have to come to their end first"
    for trial in stopped:
        assert trial.units == max(trial.measurements) < 81
