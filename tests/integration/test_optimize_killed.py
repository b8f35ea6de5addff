"""An optimization on real Redis, Ray and MLflow goes on when its server, a worker, or cluster and runner are killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from optagent import create_optimization_agent
from optagent.adapters.search.trial_storage import open_storage
from optagent.adapters.state.embedded.embedded_redis_supervisor import read_endpoint
from optagent.agent import OptimizationAgent
from optagent.domain.command import OptimizeModel

TRIALS = 80
RUNNER = """
import asyncio, sys
from optagent import create_optimization_agent
async def main(process_id):
    async with await create_optimization_agent(strict=True, num_cpus=2) as agent:
        await agent.run_queued(process_id)
asyncio.run(main(sys.argv[1]))
"""


class Runner:
    """A program that runs a queued process on a Ray cluster of its own, and all that it started."""

    def __init__(self, home: Path, process_id: str) -> None:
        environment = {**os.environ, "OPT_AGENT_HOME": str(home), "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
        self._log = (home / "runner.log").open("ab")
        self.program = subprocess.Popen(
            [sys.executable, "-c", RUNNER, process_id], env=environment, cwd=home, stdout=self._log, stderr=self._log
        )
        self._seen: dict[int, psutil.Process] = {}

    def named(self, *names: str) -> list[psutil.Process]:
        """Its living descendants with one of the names in their command lines."""
        for one in psutil.Process(self.program.pid).children(recursive=True):
            self._seen.setdefault(one.pid, one)
        return [one for one in self._seen.values() if any(name in _command_line(one) for name in names)]

    def kill(self) -> None:
        self.program.kill()
        self.program.wait()

    def close(self) -> None:
        """Leaves nothing behind of what was killed halfway."""
        if self.program.poll() is None:
            self.named("")
            self.kill()
        for one in self._seen.values():
            if one.is_running():
                one.kill()
        self._log.close()


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def trials_of(home: Path) -> int:
    if not (home / "trials.db").exists():
        return 0
    storage = open_storage(f"sqlite:///{home / 'trials.db'}")
    return sum(
        frozen.state.is_finished()
        for study in storage.get_all_studies()
        for frozen in storage.get_all_trials(study._study_id)
    )


async def until(holds: Callable[[], bool], what: str, within_s: float = 120.0) -> None:
    ends = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < ends, f"not within {within_s:.0f} s: {what}"
        await asyncio.sleep(0.05)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def start(home: Path) -> Iterator[Callable[[str], Runner]]:
    runners = []

    def started(process_id: str) -> Runner:
        runners.append(Runner(home, process_id))
        return runners[-1]

    yield started
    for runner in runners:
        runner.close()


async def until_free(agent: OptimizationAgent, process_id: str) -> None:
    """The lease of the runner that died runs out, and its process waits for the next."""
    for _ in range(400):
        if (await agent.process(process_id)).status == "queued":
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the process still counts as running")


@pytest.mark.timeout(600)
async def test_an_optimization_outlives_its_server_its_workers_and_its_cluster(
    home: Path, start: Callable[[str], Runner], churn: dict[str, Any]
):
    async with await create_optimization_agent(strict=True, home=home) as agent:
        await agent.register_model({**churn, "families": ["extra_trees"]})
        gates = {"min_validation_samples": 20}
        command = OptimizeModel("churn", "tune", strategy="conservative", trials=TRIALS, timeout_s=300, gates=gates)
        process_id = (await agent.submit(command)).process_id

        first = start(process_id)
        await until(lambda: trials_of(home) >= 2, "trials of the first runner")
        os.kill(read_endpoint(home / "redis").pid, signal.SIGKILL)
        seen = trials_of(home)
        await until(lambda: trials_of(home) >= seen + 2, "trials after the server was killed")
        assert first.program.poll() is None

        await until(lambda: first.named("ray::Trial_"), "a trial on a worker")  # the first ones need none
        (worker, *_) = first.named("ray::Trial_")
        worker.kill()
        seen = trials_of(home)
        await until(lambda: trials_of(home) >= seen + 2, "trials after a worker was killed")

        for one in first.named("raylet/raylet", "gcs_server"):
            one.kill()
        await until(lambda: first.program.poll() is not None, "the end of a runner without a cluster", 90)
        kept = trials_of(home)
        assert kept < TRIALS, "the search ended before its cluster was killed"
        await until_free(agent, process_id)

        second = start(process_id)
        assert await asyncio.to_thread(second.program.wait, 300) == 0
        assert trials_of(home) == TRIALS
        process = await agent.process(process_id)
        assert process.result is not None
        assert (process.status, process.result["status"]) == ("succeeded", "success"), process.error
        (version,) = await agent.versions("churn")
        assert version.aliases == ("champion",)
        stages = Counter(event.detail["stage"] for event in process.history if event.kind == "stage")
        assert stages["search"] == 2  # once a runner; the trials of one are kept for the next
        assert stages["gate"] == 1
        judged = [one for one in await agent.audit() if one.action == "optimize.judged"]
        assert len(judged) == 1
        assert judged[0].detail["look"] == 1
        assert (await agent.verify_audit()).broken is None
