"""A search on Ray outlives its workers, leaves its neighbours alone, and takes everything along when it is killed."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from optagent import create_optimization_agent
from optagent.adapters.search.ray_tune import RayTuner
from optagent.adapters.state.embedded.embedded_redis import read_endpoint
from optagent.domain.model import Task
from optagent.domain.process import Status
from optagent.domain.study import Study, TrialState
from optagent.training.families.registry import family_named
from optagent.training.problem import Data, Fold, Problem


@pytest.fixture(scope="module")
def problem() -> Problem:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 10)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=4000) > 0).astype(np.float64)
    rows = np.arange(4000)
    names = tuple(f"f{index}" for index in range(10))
    return Problem(Data(x, y, names, Task.BINARY, n_classes=2), (Fold(rows[:2000], rows[2000:]),))


def a_study(study_id: str, trials: int) -> Study:
    family = family_named("lightgbm")
    return Study(
        study_id=study_id,
        model_id="m",
        task=Task.BINARY,
        metric="auc",
        maximize=True,
        spaces={family.name: family.space(Task.BINARY)},
        defaults={},
        trials=trials,
        timeout_s=200.0,
        sampler="random",
    )


def workers_of(study_id: str) -> list[psutil.Process]:
    """The Ray actors of a study; Ray names each process after its class."""
    found = []
    for process in psutil.process_iter():
        try:
            if f"Trial_{study_id}" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(condition: Callable[[], object], limit_s: float = 60.0) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


RAY_AGENTS = {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}
"""They notice at once that their node is gone, and leave after a time limit of Ray's own, one minute."""

SCRIPT = """
import asyncio, sys
from optagent import create_optimization_agent
async def main():
    agent = await create_optimization_agent(strict=True, num_cpus=2)
    await agent.register_model({model!r})
    await agent.tune_hyperparameters("churn", trials=5000, method="random")
asyncio.run(main())
"""


@dataclass(frozen=True)
class Killed:
    """A driver that was killed in the middle of a search: its folder, and the processes that there were by then."""

    folder: Path
    family: list[psutil.Process]

    def says(self, *arguments: str) -> list[dict]:
        done = subprocess.run(
            [sys.executable, "-m", "optagent.cli", *arguments, "--json"],
            env=environment(self.folder),
            cwd=self.folder,
            capture_output=True,
            check=True,
        )
        return json.loads(done.stdout)

    def left(self, expected: set[str], within_s: float) -> set[str]:
        """The names of those that live, once they are among the expected ones, or the time is over."""
        give_up = time.monotonic() + within_s
        while True:
            _, alive = psutil.wait_procs(self.family, timeout=0)
            names = set()
            for process in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    names.add(process.name())
            if names <= expected or time.monotonic() > give_up:
                return names
            time.sleep(0.1)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "OPT_AGENT_HOME": str(folder / "home")}


@pytest.fixture(scope="module")
def killed_driver(make_rows, tmp_path_factory) -> Killed:
    folder = tmp_path_factory.mktemp("killed")
    pq.write_table(make_rows(), folder / "rows.parquet")
    fields = {"id": "churn", "task": "binary", "target": "label", "ignore": ["value"], "folds": 3}
    script = SCRIPT.format(model=fields | {"data": str(folder / "rows.parquet")})
    driver = subprocess.Popen([sys.executable, "-c", script], env=environment(folder), cwd=folder)
    try:
        wait_for(lambda: any("Trial_" in name for name in names_below(driver.pid)), limit_s=90)
        time.sleep(1.0)
        family = {child.pid: child for child in psutil.Process(driver.pid).children(recursive=True)}
        family |= {process.pid: process for process in using(folder / "home")}
    finally:
        driver.kill()
        driver.wait()
    return Killed(folder, list(family.values()))


def names_below(pid: int) -> list[str]:
    names = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            names.append(" ".join(child.cmdline()))
        except psutil.Error:
            continue
    return names


def using(folder: Path) -> list[psutil.Process]:
    """Processes, wherever they hang, that name the folder in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_killed_driver_leaves_no_process_and_no_half_registered_model(killed_driver):
    assert len(killed_driver.family) > 4
    assert killed_driver.left(RAY_AGENTS, within_s=20) <= RAY_AGENTS
    assert killed_driver.says("versions", "churn") == []
    (process,) = killed_driver.says("processes")
    assert process["stage"] == "search"


def test_both_workers_are_busy_and_two_searches_do_not_disturb_each_other(ray_cluster, problem):
    tuner = RayTuner(ray_cluster)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(tuner.search, replace(a_study("one", 12), concurrency=1, seed=1), problem)
        two = pool.submit(tuner.search, replace(a_study("two", 12), concurrency=1, seed=2), problem)
        outcomes = one.result(), two.result()
    for outcome in outcomes:
        assert sorted(trial.number for trial in outcome.trials) == list(range(12))
        assert outcome.count(TrialState.FAILED) == 0
    assert {str(trial.params) for trial in outcomes[0].trials}.isdisjoint(
        str(trial.params) for trial in outcomes[1].trials
    )


def test_a_killed_worker_loses_no_trial(ray_cluster, problem):
    ended: list[int] = []
    killed = threading.Event()

    def kill_one() -> None:
        wait_for(lambda: len(ended) >= 4)
        workers_of("killed")[0].send_signal(signal.SIGKILL)
        killed.set()

    killer = threading.Thread(target=kill_one)
    killer.start()
    tuner = RayTuner(ray_cluster)
    outcome = tuner.search(a_study("killed", 20), problem, on_trial=lambda trial: ended.append(trial.number))
    killer.join()
    assert killed.is_set()
    assert sorted(trial.number for trial in outcome.trials) == list(range(20))
    assert outcome.count(TrialState.FAILED) == 0


async def test_a_killed_redis_is_survived_by_a_running_search(ray_cluster, churn, tmp_path):
    home = tmp_path / "home"
    async with await create_optimization_agent(home=home, strict=True, tuner=RayTuner(ray_cluster)) as agent:
        ray_cluster_stays_up(agent)
        await agent.register_model({**churn, "families": ["extra_trees"]})
        tuning = asyncio.create_task(agent.tune_hyperparameters("churn", trials=12, method="random"))
        while not (running := await agent.processes("churn")) or running[0].stage != "search":
            await asyncio.sleep(0.05)
        os.kill(read_endpoint(home / "redis").pid, signal.SIGKILL)
        result = await tuning
        assert result.trials == 12
        assert (await agent.process(result.process_id)).status is Status.SUCCEEDED
        assert (await agent.versions("churn"))[0].aliases == ("champion",)


def ray_cluster_stays_up(agent) -> None:
    """The session's cluster is not this agent's to stop."""
    agent._ports.tuner.close = lambda: None


def test_a_minute_later_nothing_is_left_of_the_killed_driver_and_its_search_counts_as_interrupted(killed_driver):
    """The last test here, as the others make use of the minute."""
    assert killed_driver.left(set(), within_s=90) == set()
    (process,) = killed_driver.says("processes")
    assert process["status"] == "interrupted"
