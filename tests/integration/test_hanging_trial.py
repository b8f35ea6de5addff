"""A family of the user's that hangs is stopped by force, and the other trials go on."""

from pathlib import Path
from typing import Any

import numpy as np

from optagent.adapters.search.ray_tune import RayTuner
from optagent.domain.model import Task
from optagent.domain.study import Study, TrialState
from optagent.training.families.registry import family_named
from optagent.training.problem import Data, Fold, Problem

FAMILY = """
import time
from optagent.domain.space import Int, SearchSpace
from optagent.training.families.simple_family import SimpleFamily

class Hangs(SimpleFamily):
    def space(self, task):
        return SearchSpace((Int("rows", 1, 9),))

    def fit(self, params, data, seed, threads):
        time.sleep(10_000)

    def predict(self, model, x):
        return x[:, 0]
"""


def a_problem() -> Problem:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.float64)
    rows = np.arange(200)
    return Problem(Data(x, y, ("a", "b", "c"), Task.BINARY, n_classes=2), (Fold(rows[:100], rows[100:]),))


def study_of_one_that_hangs(importable: Path, study_id: str, **limits: Any) -> Study:
    """Two trials: one of a family that hangs, and one of linear models."""
    (importable / "hangs.py").write_text(FAMILY)
    families = [family_named("hangs:Hangs"), family_named("linear")]
    return Study(
        study_id=study_id,
        model_id="m",
        task=Task.BINARY,
        metric="auc",
        maximize=True,
        spaces={one.name: one.space(Task.BINARY) for one in families},
        defaults={one.name: one.defaults(Task.BINARY) for one in families},
        trials=2,
        **limits,
    )


def test_a_trial_that_hangs_is_stopped_and_the_others_go_on(ray_cluster: Any, importable: Path) -> None:
    study = study_of_one_that_hangs(importable, "hanging", timeout_s=240, trial_timeout_s=15.0)
    outcome = RayTuner(ray_cluster).search(study, a_problem())
    hung, other = sorted(outcome.trials, key=lambda trial: trial.family)
    assert (hung.family, hung.state) == ("hangs:Hangs", TrialState.INFEASIBLE)
    assert hung.error == "the trial hung for over 15 s"
    assert (other.family, other.state, other.error) == ("linear", TrialState.COMPLETE, None)


def test_a_search_whose_time_is_over_waits_for_no_trial_and_keeps_those_that_ended(
    ray_cluster: Any, importable: Path
) -> None:
    study = study_of_one_that_hangs(importable, "hanging-at-the-end", timeout_s=3600, kept_predictions=2)
    ended: list[int] = []
    outcome = RayTuner(ray_cluster).search(
        study, a_problem(), on_trial=lambda trial: ended.append(trial.number), is_over=lambda: bool(ended)
    )
    assert [(trial.family, trial.state) for trial in outcome.trials] == [("linear", TrialState.COMPLETE)]
    assert outcome.timed_out
    [predictions] = outcome.predictions.values()
    assert [len(part) for part in predictions] == [100]
