"""A search on a cluster of two nodes goes on when one of them is lost."""

import subprocess
import sys

import pytest

SCRIPT = """
import threading, time
import numpy as np, ray
from ray.cluster_utils import Cluster
from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.adapters.search.ray_tune import RayTuner
from optagent.domain.model import Task
from optagent.domain.study import Study
from optagent.training.families.registry import family_named
from optagent.training.problem import Data, Fold, Problem

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
second = cluster.add_node(num_cpus=1)
connection = RayCluster(cluster.address)
rng = np.random.default_rng(0)
x = rng.normal(size=(4000, 10)).astype(np.float32)
y = (x[:, 0] + rng.normal(size=4000) > 0).astype(np.float64)
rows = np.arange(4000)
problem = Problem(
    Data(x, y, tuple("abcdefghij"), Task.BINARY, n_classes=2), (Fold(rows[:2000], rows[2000:]),)
)
family = family_named("lightgbm")
study = Study("two", "m", Task.BINARY, "auc", True, {family.name: family.space(Task.BINARY)}, {}, trials=30,
              timeout_s=200, sampler="random")
ended = []

def lose_a_node():
    while len(ended) < 6:
        time.sleep(0.05)
    cluster.remove_node(second, allow_graceful=False)

loser = threading.Thread(target=lose_a_node)
loser.start()
outcome = RayTuner(connection).search(study, problem, on_trial=ended.append)
loser.join()
connection.close()
cluster.shutdown()
assert sorted(trial.number for trial in outcome.trials) == list(range(30))
print("lost", sum(trial.score is None for trial in outcome.trials))
"""


@pytest.mark.timeout(400)
def test_a_lost_node_loses_no_trial():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "lost 0"
