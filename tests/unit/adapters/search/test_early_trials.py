"""Trials that begin before there are workers are trials of their study like any other."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from optagent.adapters.search.early_start import may_start_early
from optagent.adapters.search.early_trials import EarlyTrials
from optagent.adapters.search.study_trials import StudyTrials
from optagent.adapters.search.trial_storage import open_storage
from optagent.adapters.search.trial_store import TrialStore
from optagent.adapters.search.trial_training import HandedPredictions
from optagent.domain.model import Task
from optagent.domain.space import Float, SearchSpace
from optagent.domain.study import Budget, Study, Trial, TrialState
from optagent.errors import Unavailable
from optagent.training.problem import Data, Fold, Problem

STUDY = Study(
    study_id="s",
    model_id="m",
    task=Task.BINARY,
    metric="auc",
    maximize=True,
    spaces={"linear": SearchSpace((Float("c", 1e-3, 1e3, log=True),))},
    defaults={"linear": {"c": 1.0}},
    sampler="random",
    trials=6,
    budget=Budget(max_units=4, grace_units=1, reduction_factor=2),
    kept_predictions=2,
)


class ScriptedTraining:
    """Trials whose scores are given; each report takes a second of `now`, and every rung has one."""

    def __init__(self, scores: list[float | str], rungs: tuple[int, ...]) -> None:
        self.now = 0.0
        self.begun: list[dict[str, Any]] = []
        self._scores = scores
        self._rungs = rungs
        self.after_step: Callable[[], None] = lambda: None

    def begin(self, family: str, params: Any) -> None:
        self.begun.append(dict(params))
        self._at = 0

    def step(self, is_interrupted: Callable[[], bool]) -> dict[str, Any]:
        self.now += 1.0
        self.after_step()
        score = self._scores[len(self.begun) - 1]
        if isinstance(score, str):
            return {"state": "infeasible", "error": score, "score": np.nan, "units": 0}
        units, self._at = self._rungs[self._at], self._at + 1
        finished = units == self._rungs[-1]
        return {
            "state": "trained",
            "score": score,
            "values": (score,),
            "units": units,
            "rounds": units,
            "at_rung": True,
            "finished": finished,
            "seconds": float(self._at),
            "predictions": HandedPredictions((np.full(3, score),) if finished else ()),
        }

    def clock(self) -> float:
        return self.now


def run_early(
    scores: list[float | str], enough_at: float = 1e9, over_at: float = 1e9, store: TrialStore | None = None
) -> tuple[StudyTrials, ScriptedTraining]:
    training: Any = ScriptedTraining(scores, STUDY.budget.rungs)
    trials = StudyTrials(STUDY, store or TrialStore(STUDY, None), clock=training.clock)
    early = EarlyTrials(trials, None, lambda: training.now >= over_at)
    training.after_step = lambda: early.end_soon() if training.now >= enough_at else None
    early.run(training)
    return trials, training


def test_the_defaults_come_first_and_every_trial_ends_once_with_its_state():
    trials, training = run_early([0.8, 0.7, "no room", 0.9, 0.6, 0.5])
    assert training.begun[0] == {"c": 1.0}
    assert [trial.number for trial in trials.ended] == list(range(6))
    assert [trial.state for trial in trials.ended] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.INFEASIBLE,
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.PRUNED,
    ]
    assert trials.ended[3].measurements == dict.fromkeys(STUDY.budget.rungs, 0.9)
    assert sorted(trials.best_predictions.by_trial) == [0, 3]
    assert trials.progress().running == 0


def test_once_workers_report_the_trial_under_way_comes_to_its_end_and_no_other_begins():
    trials, training = run_early([0.8] * 6, enough_at=1.0)
    assert [trial.state for trial in trials.ended] == [TrialState.COMPLETE]
    assert len(training.begun) == 1


def test_at_the_end_of_the_time_a_trial_with_a_measurement_counts_as_stopped_and_no_other_begins():
    trials, training = run_early([0.8] * 6, over_at=1.0)
    assert [(trial.state, trial.score) for trial in trials.ended] == [(TrialState.PRUNED, 0.8)]
    assert len(training.begun) == 1


def test_trials_of_workers_are_judged_against_early_ones():
    trials, _ = run_early([0.8, "no room", 0.7], enough_at=5.0)
    rung = STUDY.budget.rungs[0]
    assert not trials.should_continue(4, rung, (0.6,))
    assert trials.should_continue(5, rung, (0.9,))


def test_a_study_that_is_resumed_has_the_earlier_trials_and_begins_none_of_them_again(tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    store = TrialStore(STUDY, open_storage(url))
    first, training = run_early([0.8, 0.7, 0.9, 0.6, 0.5, 0.4], enough_at=4.0, store=store)
    store.close()
    again = TrialStore(STUDY, open_storage(url))
    then, more = run_early([0.7] * 6, store=again)
    assert 0 < len(first.ended) < 6
    assert then.ended[: len(first.ended)] == first.ended
    assert [trial.number for trial in then.ended] == list(range(6))
    assert not any(params in training.begun for params in more.begun)
    assert again.is_exhausted


def test_the_error_that_ends_the_thread_is_raised_where_the_search_goes_on():
    trials = StudyTrials(STUDY, TrialStore(STUDY, None), on_trial=refuse)
    with pytest.raises(Unavailable, match="full"), EarlyTrials(trials, a_problem(), lambda: False):
        pass


def refuse(trial: Trial) -> None:
    raise Unavailable("the disk is full")


def a_problem(rows: int = 10) -> Problem:
    x = np.broadcast_to(np.float32(0.0), (rows, 100))
    index = np.arange(10)
    return Problem(Data(x, np.zeros(rows), ("a",) * 100, Task.BINARY, n_classes=2), (Fold(index, index),))


@pytest.mark.parametrize(
    ("changes", "rows", "beside_gateway", "early"),
    [
        ({}, 10, False, True),
        ({"spaces": {"mine:Family": STUDY.spaces["linear"]}}, 10, False, False),
        ({"trial_memory_mb": 100.0}, 10, False, False),
        ({"gpus_per_trial": 1.0}, 10, False, False),
        ({}, 1_000_000, False, False),
        ({}, 10, True, False),
    ],
)
def test_trials_begin_early_only_where_they_need_no_worker_of_their_own(changes, rows, beside_gateway, early):
    assert may_start_early(replace(STUDY, **changes), a_problem(rows), beside_gateway) == early
