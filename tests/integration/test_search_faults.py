"""A search on Ray outlives its workers, leaves its neighbours alone, and takes everything along when it is killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from optagent import create_optimization_agent
from optagent.adapters.search.ray_tune import RayTuner
from optagent.adapters.state.embedded_redis import read_endpoint
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
    outcome = tuner.search(a_study("killed", 40), problem, on_trial=lambda trial: ended.append(trial.number))
    killer.join()
    assert killed.is_set()
    assert sorted(trial.number for trial in outcome.trials) == list(range(40))
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
    agent._outside.tuner.close = lambda: None


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


def test_a_killed_driver_leaves_no_process_and_no_half_registered_model(churn, tmp_path):
    environment = {**os.environ, "OPT_AGENT_HOME": str(tmp_path / "home")}
    script = SCRIPT.format(model=churn)
    driver = subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=tmp_path)
    family: dict[int, psutil.Process] = {}
    try:
        wait_for(lambda: any("Trial_" in name for name in names_below(driver.pid)), limit_s=90)
        time.sleep(1.0)
        family = {child.pid: child for child in psutil.Process(driver.pid).children(recursive=True)}
        family |= {process.pid: process for process in using(tmp_path / "home")}
    finally:
        driver.kill()
        driver.wait()
    assert len(family) > 4
    _, alive = psutil.wait_procs(list(family.values()), timeout=20)
    assert {process.name() for process in alive} <= RAY_AGENTS

    def said(*arguments: str) -> list[dict]:
        command = [sys.executable, "-m", "optagent.cli", *arguments, "--json"]
        return json.loads(
            subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=True).stdout
        )

    assert said("versions", "churn") == []
    (process,) = said("processes")
    assert process["stage"] == "search"
    wait_for(lambda: said("processes")[0]["status"] == "interrupted", limit_s=30)
    _, alive = psutil.wait_procs(alive, timeout=90)
    assert alive == []


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
