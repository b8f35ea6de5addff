"""A search on a machine whose cores are all busy with work of the least nice value keeps its share of them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optagent.adapters.search import trainable
from optagent.adapters.search.ray_tune import RayTuner
from optagent.domain.model import Task
from optagent.domain.study import Budget, Study
from optagent.errors import Cancelled
from optagent.training.families.registry import family_named
from optagent.training.problem import Data, Fold, Problem

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="this system has no idle scheduling")

BUSY = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
os.nice(19)
print("busy", flush=True)
while True:
    pass
"""

WITHOUT_GATEWAY = """
from optagent.adapters.cluster import cpu_priority
from optagent.adapters.search.trainable import TrainingTrial

class TrialWithoutGateway(TrainingTrial):
    def setup(self, config):
        cpu_priority.has_gateway = lambda: False
        super().setup(config)
"""

PERIOD_S = 1.5
FEWEST_ROUNDS, MOST_ROUNDS = 4, 20


class BusyCores:
    """A process on each core that computes whenever it may, in a session of its own: the hardest case, since nice
    values count within a session where Linux groups processes by it."""

    def __init__(self) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", BUSY, str(core)], stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            for core in os.sched_getaffinity(0)
        ]
        assert [process.stdout.readline() for process in self._processes] == ["busy\n"] * len(self._processes)
        self.send(signal.SIGSTOP)

    def send(self, number: signal.Signals) -> None:
        for process in self._processes:
            process.send_signal(number)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture
def busy_cores() -> Iterator[BusyCores]:
    with contextlib.closing(BusyCores()) as cores:
        yield cores


@pytest.fixture
def problem() -> Problem:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4_000, 10)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=len(x)) > 0).astype(np.float64)
    rows = np.arange(len(x))
    names = tuple(f"f{index}" for index in range(10))
    return Problem(Data(x, y, names, Task.BINARY, n_classes=2), (Fold(rows[:3_000], rows[3_000:]),))


@pytest.fixture
def study() -> Study:
    family = family_named("lightgbm")
    return Study(
        study_id="busy",
        model_id="m",
        task=Task.BINARY,
        metric="auc",
        maximize=True,
        spaces={family.name: family.space(Task.BINARY)},
        defaults={family.name: family.defaults(Task.BINARY)},
        sampler="random",
        stopping="none",
        trials=100_000,
        budget=Budget(max_units=9),
    )


@pytest.fixture
def without_gateway(importable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of a search see no gateway, whatever other tests run on this machine."""
    (importable / "trial_without_gateway.py").write_text(WITHOUT_GATEWAY)
    from trial_without_gateway import TrialWithoutGateway

    monkeypatch.setattr(trainable, "TrainingTrial", TrialWithoutGateway)


@pytest.fixture
def ended(ray_cluster: Any, problem: Problem, study: Study, without_gateway: None) -> Iterator[list[Any]]:
    """The trials that have ended, of a search that runs during the test; some have."""
    trials: list[Any] = []
    begun, enough = threading.Event(), threading.Event()

    def count(trial: Any) -> None:
        trials.append(trial)
        if len(trials) >= 10:
            begun.set()

    def search() -> None:
        with contextlib.suppress(Cancelled):
            RayTuner(ray_cluster).search(study, problem, on_trial=count, cancelled=enough.is_set)

    running = threading.Thread(target=search)
    running.start()
    try:
        assert begun.wait(200)
        yield trials
    finally:
        enough.set()
        running.join(60)


def test_beside_a_busy_process_on_each_core_a_search_does_at_least_a_third_of_its_trials(ended, busy_cores):
    """Quiet and busy periods alternate, so that whatever else runs on the machine slows both; where it disturbs the
    comparison, more rounds even that out. Trials that starve stay far below, however many rounds there are."""
    quiet = beside = 0
    for number in range(1, MOST_ROUNDS + 1):
        quiet += _count_period(ended)
        busy_cores.send(signal.SIGCONT)
        beside += _count_period(ended)
        busy_cores.send(signal.SIGSTOP)
        if number >= FEWEST_ROUNDS and quiet >= 20 and 3 * beside >= quiet:
            break
    assert quiet >= 20
    assert 3 * beside >= quiet, f"{beside} trials beside busy processes, {quiet} without, in {number} rounds"


def _count_period(ended: list[Any]) -> int:
    before = len(ended)
    time.sleep(PERIOD_S)
    return len(ended) - before
