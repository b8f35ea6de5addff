"""Long work of Control: few analyses at a time, of a token and of all, and a check of health that does not wait."""

import asyncio
import time
from typing import Any

import pytest
from fastapi import FastAPI

from optagent.agent import OptimizationAgent
from optagent.domain.actor import Actor, Door
from optagent.domain.model_report import ModelReport
from optagent.domain.token import Scope, Token
from optagent.errors import Busy
from serve_app import control
from serve_app.api.analyses import Analyses
from serve_app.api.health import HealthCache
from serve_app.control import LazyAgent, VerbServer
from tests.fakes.tokens import InMemoryTokens

TOKEN = Token("token", "ana", "0" * 64, (Scope.READ,), 0.0)

ACTOR = Actor("ana", Door.SDK)

ANALYZE = "/optimization/analyze"


class Slow:
    """Analyses that end when the test says so."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.calls = 0

    async def analyze_model(self, **body: Any) -> ModelReport:
        self.calls += 1
        await self.done.wait()
        return ModelReport(body["model_id"], created_at=1_700_000_000.0)

    async def analysis_page(self, model_id: str, *options: Any) -> str:
        self.calls += 1
        await self.done.wait()
        return "<p>plots</p>"


async def turns() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


@pytest.fixture
def slow(agent: OptimizationAgent) -> Slow:
    slow = Slow()
    agent.analyze_model, agent.analysis_page = slow.analyze_model, slow.analysis_page  # type: ignore[method-assign]
    return slow


async def test_a_token_has_one_analysis_at_a_time_over_the_api_and_the_dashboard(call, slow: Slow) -> None:
    first = asyncio.create_task(call("read", "POST", ANALYZE, json={"model_id": "churn"}))
    await turns()
    refused = await call("read", "POST", ANALYZE, json={"model_id": "other"})
    assert refused.status_code == 429
    assert "1 analyses of this caller are open" in refused.json()["detail"]
    others = asyncio.create_task(call("operate", "POST", ANALYZE, json={"model_id": "other"}))
    await turns()
    slow.done.set()
    assert [(await one).status_code for one in (first, others)] == [200, 200]
    assert slow.calls == 2


async def test_the_same_question_is_asked_of_control_once(call, slow: Slow) -> None:
    same = [asyncio.create_task(call("read", "POST", ANALYZE, json={"model_id": "churn"})) for _ in range(5)]
    await turns()
    slow.done.set()
    assert {(await one).status_code for one in same} == {200}
    assert (await call("read", "POST", ANALYZE, json={"model_id": "churn"})).status_code == 200
    assert slow.calls == 1


async def test_an_analysis_holds_its_place_after_its_client_has_gone(slow: Slow) -> None:
    analyses = Analyses()
    gone = asyncio.create_task(analyses.ask(TOKEN, "a", lambda: slow.analysis_page("churn")))
    await turns()
    gone.cancel()
    await turns()
    with pytest.raises(Exception, match="1 analyses of this caller are open"):
        await analyses.ask(TOKEN, "b", lambda: slow.analysis_page("churn"))
    slow.done.set()
    assert await analyses.ask(TOKEN, "a", lambda: slow.analysis_page("churn")) == "<p>plots</p>"


async def test_a_kept_answer_is_made_anew_after_seconds(slow: Slow) -> None:
    now = [0.0]
    analyses = Analyses(lambda: now[0])
    slow.done.set()
    for seconds, calls in ((0.0, 1), (4.0, 1), (6.0, 2)):
        now[0] = seconds
        await analyses.ask(TOKEN, "a", lambda: slow.analysis_page("churn"))
        assert slow.calls == calls


async def test_control_keeps_threads_for_short_verbs_whoever_asks_for_long_ones(monkeypatch: Any) -> None:
    class Agent:
        def __init__(self) -> None:
            self.done = asyncio.Event()

        async def analyze_model(self, model_id: str) -> str:
            await self.done.wait()
            return model_id

        async def models(self) -> list[str]:
            return ["churn"]

    async def recipe() -> Any:
        return agent

    monkeypatch.setattr(control, "_PATIENCE_S", 0.01)
    agent = Agent()
    server = VerbServer(LazyAgent(recipe))
    long_calls = [asyncio.create_task(server.call("analyze_model", (str(number),), {}, ACTOR)) for number in range(8)]
    await turns()
    for abandoned in long_calls[:4]:
        abandoned.cancel()
    await turns()
    assert isinstance((await server.call("analyze_model", ("more",), {}, ACTOR)).refusal, Busy)
    assert (await server.call("models", (), {}, ACTOR)).answer == ["churn"]
    agent.done.set()
    assert [(await one).answer for one in long_calls[4:]] == ["4", "5", "6", "7"]
    assert (await server.call("analyze_model", ("more",), {}, ACTOR)).answer == "more"


async def test_health_is_answered_while_control_hangs_with_one_call_for_all(
    api: FastAPI, agent: OptimizationAgent, client: Any, clock: Any, tokens: InMemoryTokens
) -> None:
    calls = []

    async def hang() -> dict[str, str]:
        calls.append(1)
        await asyncio.sleep(60)
        return {}

    agent.health = hang  # type: ignore[method-assign]
    api.state.parts = HealthCache(agent, clock, limit_s=0.2)
    started = time.monotonic()
    answers = await asyncio.gather(*(client.get("/optimization/health") for _ in range(50)))
    assert time.monotonic() - started < 20
    assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(503, "down")}
    assert len(calls) == 1
