"""OpenAPI document: whatever is sent to a call, the answer is one that the document promises."""

import asyncio
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.agent import OptimizationAgent
from optagent.domain.process import Process, Status
from serve_app.api import create_api
from serve_app.api.auth import Authenticator
from serve_app.asgi import Application
from serve_app.data_plane.gateway import DataPlane
from tests.fakes.idempotency import InMemoryKeptAnswers
from tests.fakes.loader import InMemoryLoader
from tests.fakes.routes import InMemoryRoutes
from tests.fakes.tokens import InMemoryTokens

NOW = 1_700_000_000.0
CONFIG = """
seed = 1
[generation]
deterministic = true
max-examples = 3
no-shrink = true
[phases.stateful]
enabled = false
[checks.not_a_server_error]
expected-statuses = ["2xx", "4xx"]
[checks.positive_data_acceptance]
# Rules that JSON Schema cannot say, such as that shares rise, are the domain's: 422. An old revision is 412.
expected-statuses = ["2xx", "404", "409", "412", "422"]
"""


@dataclass(frozen=True, slots=True)
class Running:
    url: str
    token: str
    stop: Callable[[], None]


@pytest.fixture
def running(rows_file: Path) -> Iterator[Running]:
    """Both planes over real HTTP, with every port in memory, and a token for everything."""
    started: queue.Queue[Running] = queue.Queue()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(rows_file, started.put)))
    thread.start()
    running = started.get(timeout=120)
    yield running
    running.stop()
    thread.join()


async def _serve(rows: Path, started: Callable[[Running], None]) -> None:
    clock = ManualClock(NOW)
    store, tokens, registry = InMemoryStore(clock), InMemoryTokens(), InMemoryRegistry(clock)
    routes, observations = InMemoryRoutes(clock), InMemoryObservations()
    async with await create_optimization_agent(
        strict=True,
        clock=clock,
        store=store,
        registry=registry,
        tracker=InMemoryTracker(),
        observations=observations,
        tuner=SequentialTuner(),
        routes=routes,
        tokens=tokens,
        early_stopping_rounds=10,
    ) as agent:
        await _fill(agent, store, rows)
        text, _ = await agent.create_token("fuzz", ["admin", "predict"])
        authenticator = Authenticator(tokens, clock, 10**9, 10**9)
        loader = InMemoryLoader(registry)
        plane = DataPlane(routes, loader, observations, authenticator, clock, store.model, "gateway-1")
        await plane.start()
        api = create_api(agent, authenticator, InMemoryKeptAnswers(clock), clock, plane, 100_000, _no_wait)
        server = uvicorn.Server(uvicorn.Config(Application(api, plane), port=0, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not (server.started and plane.ready):
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        started(Running(f"http://127.0.0.1:{port}", text, lambda: setattr(server, "should_exit", True)))
        await serving
        await plane.close()
        loader.close()


async def _no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


async def _fill(agent: OptimizationAgent, store: InMemoryStore, rows: Path) -> None:
    model = {"id": "churn", "task": "binary", "data": str(rows), "target": "label", "ignore": ["value", "day"]}
    await agent.register_model(model)
    for seed in (1, 2):
        await agent.tune_hyperparameters("churn", method="random", trials=1, seed=seed)
    await agent.set_alias("churn", "challenger", "2")
    await agent.start_rollout("churn")
    ended = Process("tune-3f2a9c0d1e4b", "tune", "churn", Status.SUCCEEDED, NOW, NOW, result={"best_score": 0.8})
    await store.create_process(ended, 60.0)


def test_every_answer_is_as_documented(running: Running, tmp_path: Path):
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    command += [f"{running.url}/openapi.json", "--header", f"Authorization: Bearer {running.token}"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=280, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
