"""A search that is killed anywhere goes on: every finished trial kept, the asked number done, the best never worse."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from optagent import create_optimization_agent
from optagent.adapters.search.trial_storage import open_storage
from optagent.adapters.state.embedded.embedded_redis_supervisor import read_endpoint
from optagent.codec import decode
from optagent.domain.study import Trial

TRIALS = 14

SCRIPT = """
import asyncio, sys
from optagent import create_optimization_agent
async def main(model, resume):
    agent = await create_optimization_agent(strict=True, num_cpus=2)
    if resume:
        await agent.tune_hyperparameters("churn", resume=True)
    else:
        await agent.register_model(model)
        await agent.tune_hyperparameters("churn", trials={trials}, strategy="conservative", timeout_s=300)
    await agent.close()
asyncio.run(main({model!r}, {resume!r}))
"""


def start(home: Path, model: dict[str, Any], resume: bool) -> subprocess.Popen[bytes]:
    script = SCRIPT.format(trials=TRIALS, model=model, resume=resume)
    environment = {**os.environ, "OPT_AGENT_HOME": str(home)}
    return subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=home, stdout=subprocess.DEVNULL)


def stored_trials(home: Path) -> list[Trial]:
    storage = open_storage(f"sqlite:///{home / 'trials.db'}") if (home / "trials.db").exists() else None
    studies = [] if storage is None else storage.get_all_studies()
    assert len(studies) <= 1
    return [
        decode(Trial, frozen.user_attrs["trial"])
        for study in studies
        for frozen in storage.get_all_trials(study._study_id)
    ]


def best(trials: list[Trial]) -> float:
    return max((trial.score for trial in trials if trial.score is not None), default=0.0)


def wait_for_trials(home: Path, driver: subprocess.Popen[bytes], count: int) -> None:
    until = time.monotonic() + 120
    while len(stored_trials(home)) < count:
        assert driver.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.timeout(900)  # three starts of Ray, and trials at nice 10 beside the tests of the other worker
async def test_a_search_killed_at_random_moments_ends_with_exactly_the_trials_that_were_asked(home, churn):
    churn = {**churn, "families": ["extra_trees"]}
    moments = random.Random(0)
    done: list[Trial] = []
    for kill in range(2):
        driver = start(home, churn, resume=kill > 0)
        wait_for_trials(home, driver, len(done) + 3)
        await asyncio.sleep(moments.random() * 0.5)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        now = stored_trials(home)
        assert {trial.number for trial in done} <= {trial.number for trial in now}
        assert best(now) >= best(done)
        done = now
        await end_lease(home)
    driver = start(home, churn, resume=True)
    assert driver.wait(500) == 0
    now = stored_trials(home)
    assert sorted(trial.number for trial in now) == list(range(TRIALS))
    assert best(now) >= best(done)
    before = {trial.number: trial for trial in done}
    assert all(trial == before.get(trial.number, trial) for trial in now)
    async with await create_optimization_agent(home=home, strict=True) as agent:
        assert [version.version for version in await agent.versions("churn")] == ["1"]
        refused = await agent.processes("churn")
        assert refused[0].status == "succeeded"


async def end_lease(home: Path) -> None:
    """The lease of the killed process ends at once, as it does after 15 s without a beat: its search may go on."""
    async with await create_optimization_agent(home=home) as agent:
        (process, *_) = await agent.processes("churn")
        endpoint = read_endpoint(home / "redis")
        assert endpoint is not None
        async with Redis.from_url(endpoint.url) as admin:
            await admin.delete(f"optagent:lease:{process.process_id}")
        assert (await agent.process(process.process_id)).status == "interrupted"
