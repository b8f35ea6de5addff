"""A family of the user's that hangs is stopped by force, and the other trials go on."""

import os
import subprocess
import sys
from pathlib import Path

FAMILY = """
import time
from optagent.domain.space import Int, SearchSpace
from optagent.training.families.own import SimpleFamily

class Hangs(SimpleFamily):
    def space(self, task):
        return SearchSpace((Int("rows", 1, 9),))

    def fit(self, params, data, seed, threads):
        time.sleep(10_000)

    def predict(self, model, x):
        return x[:, 0]
"""

SCRIPT = """
import numpy as np
from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.adapters.search.ray_tune import RayTuner
from optagent.domain.model import Task
from optagent.domain.study import Study
from optagent.training.families.registry import family_named
from optagent.training.problem import Data, Fold, Problem

rng = np.random.default_rng(0)
x = rng.normal(size=(200, 3)).astype(np.float32)
y = (x[:, 0] > 0).astype(np.float64)
rows = np.arange(200)
problem = Problem(Data(x, y, ("a", "b", "c"), Task.BINARY, n_classes=2), (Fold(rows[:100], rows[100:]),))
families = [family_named("hangs:Hangs"), family_named("linear")]
study = Study("hanging", "m", Task.BINARY, "auc", True, {one.name: one.space(Task.BINARY) for one in families},
              {one.name: one.defaults(Task.BINARY) for one in families}, trials=2, timeout_s=120, trial_timeout_s=10.0)
cluster = RayCluster(num_cpus=2)
outcome = RayTuner(cluster).search(study, problem)
cluster.close()
for trial in sorted(outcome.trials, key=lambda trial: trial.family):
    print(trial.family, trial.state, trial.error)
"""


def test_a_trial_that_hangs_is_stopped_and_the_others_go_on(tmp_path: Path):
    (tmp_path / "hangs.py").write_text(FAMILY)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    hung, other = done.stdout.splitlines()[-2:]
    assert hung.startswith("hangs:Hangs infeasible the trial hung for over 10 s")
    assert other == "linear complete None"
