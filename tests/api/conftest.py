"""Control plane of the tests: the whole API over HTTP, with every port in memory and a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.agent import OptimizationAgent
from optagent.domain.process import Process, Status
from optagent.domain.source_rules import SourceRules
from optagent.loop.refusal_log import RefusalLog
from serve_app.api import create_api
from serve_app.api.auth import Authenticator
from serve_app.asgi import Application
from tests.fakes.idempotency import InMemoryKeptAnswers
from tests.fakes.routes import InMemoryRoutes
from tests.fakes.sessions import InMemorySessions
from tests.fakes.tokens import InMemoryTokens

NOW = 1_700_000_000.0

Call = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def store(clock: ManualClock) -> InMemoryStore:
    return InMemoryStore(clock)


@pytest.fixture
def tokens() -> InMemoryTokens:
    return InMemoryTokens()


async def create_in_memory_agent(
    clock: ManualClock, store: InMemoryStore, tokens: InMemoryTokens, **ports: Any
) -> OptimizationAgent:
    """A strict agent with every port in memory; `ports` are used in place of its own."""
    own = {"registry": InMemoryRegistry(clock), "tracker": InMemoryTracker(), "observations": InMemoryObservations()}
    own |= {"tuner": SequentialTuner(), "routes": InMemoryRoutes(clock), "workers": SequentialWorkers()}
    return await create_optimization_agent(
        strict=True, clock=clock, store=store, tokens=tokens, early_stopping_rounds=10, **(own | ports)
    )


@pytest.fixture
async def agent(clock: ManualClock, store: InMemoryStore, tokens: InMemoryTokens) -> AsyncIterator[OptimizationAgent]:
    async with await create_in_memory_agent(clock, store, tokens) as agent:
        yield agent


async def no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture
def api(agent: OptimizationAgent, clock: ManualClock, tokens: InMemoryTokens, tmp_path: Path) -> FastAPI:
    refusals = RefusalLog(agent.record_audit, sleep=no_wait)  # each refusal is an entry
    authenticator = Authenticator(tokens, clock, 100, 100, on_refused=refusals)
    return create_api(
        agent,
        authenticator,
        InMemoryKeptAnswers(clock),
        clock,
        max_body_bytes=100_000,
        sleep=no_wait,
        source_rules=SourceRules(roots=(str(tmp_path), "/nowhere")),
        sessions=InMemorySessions(clock),
    )


@pytest.fixture
async def client(api: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    transport = httpx.ASGITransport(Application(api))
    async with httpx.AsyncClient(transport=transport, base_url="http://optagent/api/v1") as client:
        yield client


@pytest.fixture
def call(agent: OptimizationAgent, client: httpx.AsyncClient) -> Call:
    """`await call("admin", "GET", "/tokens")`: a request with a token of that scope, which is named after it."""
    texts: dict[str, str] = {}

    async def send_request(
        scope: str, method: str, path: str, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Any:
        if scope not in texts:
            texts[scope], _ = await agent.create_token(scope, [scope])
        all_headers = {"Authorization": f"Bearer {texts[scope]}", **(headers or {})}
        return await client.request(method, path, headers=all_headers, **options)

    return send_request


@pytest.fixture
async def churn_id(agent: OptimizationAgent, churn: dict[str, Any]) -> str:
    """A registered model."""
    return (await agent.register_model(churn)).model_id


@pytest.fixture
async def rivals(agent: OptimizationAgent, churn_id: str) -> str:
    """A registered model with two versions: the first is champion."""
    for seed in (1, 2):
        await agent.tune_hyperparameters(churn_id, method="random", trials=1, seed=seed)
    return churn_id


@pytest.fixture
def process() -> Callable[..., Process]:
    def make_process(number: int = 1, status: Status = Status.RUNNING, **fields: Any) -> Process:
        return Process(f"tune-{number}", "tune", fields.pop("model_id", "churn"), status, NOW + number, NOW, **fields)

    return make_process
