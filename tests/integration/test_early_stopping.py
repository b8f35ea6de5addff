"""Which trials Ray Tune is told to stop."""

import numpy as np
import pytest

from optagent.adapters.search.ray_tune import RayTuner
from optagent.domain.model import Task
from optagent.domain.study import Budget, Study, TrialState
from optagent.training.families.registry import family_named
from optagent.training.problem import Data, Fold, Problem


def noisy_problem() -> Problem:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=300) > 0).astype(np.float64)
    rows = np.arange(300)
    return Problem(Data(x, y, tuple("abcd"), Task.BINARY, n_classes=2), (Fold(rows[:200], rows[200:]),))


@pytest.mark.parametrize("rule", ["asha", "median", "none"])
def test_a_rule_stops_poor_trials_and_leaves_the_best(ray_cluster, rule):
    family = family_named("lightgbm")
    study = Study(
        study_id=f"stopped-by-{rule}",
        model_id="m",
        task=Task.BINARY,
        metric="auc",
        maximize=True,
        spaces={family.name: family.space(Task.BINARY)},
        defaults={family.name: family.defaults(Task.BINARY)},
        sampler="random",
        trials=30,
        stopping=rule,
        budget=Budget(grace_units=1, reduction_factor=2),
    )
    outcome = RayTuner(ray_cluster).search(study, noisy_problem())
    stopped = [trial for trial in outcome.trials if trial.state is TrialState.PRUNED]
    complete = [trial for trial in outcome.trials if trial.state is TrialState.COMPLETE]
    assert len(stopped) + len(complete) == 30
    assert bool(stopped) == (rule != "none")
    if rule == "median":
        assert outcome.trials.index(stopped[0]) >= 5, "five have to come to their end first"
    for trial in stopped:
        assert trial.units == max(trial.measurements) < 81
