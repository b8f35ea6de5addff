"""Changes of pages: who may hear of them, what costs what, and that a stream ends with its session."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.domain.process import Process
from serve_app.asgi import Application
from serve_app.dashboard.changes import PagePolls, PageSubject, revision_of
from tests.api.conftest import NOW
from tests.security.asgi_calls import Connection, answer, held
from tests.security.poll_steps import PollSteps

CHANGES = "/dashboard/changes"


@pytest.fixture
def steps(api: FastAPI) -> PollSteps:
    steps = PollSteps()
    api.state.page_polls = PagePolls(steps.sleep)
    return steps


@pytest.fixture
def cookie(api: FastAPI, agent: OptimizationAgent) -> Callable[..., Any]:
    """`await cookie("ana")`: the header of a browser that has signed in with a token of that name."""

    async def sign_in(name: str, **limits: Any) -> tuple[bytes, bytes]:
        text, _ = await agent.create_token(name, ["read"], **limits)
        transport = httpx.ASGITransport(Application(api))
        async with httpx.AsyncClient(transport=transport, base_url="http://optagent") as client:
            await client.post("/dashboard/sign-in", data={"token": text})
            (name_of_cookie, value), *_ = client.cookies.items()
            return b"cookie", f"{name_of_cookie}={value}".encode()

    return sign_in


def events(stream: Connection) -> list[str]:
    text = b"".join(message.get("body", b"") for message in stream.messages).decode()
    return [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]


def stream_of(of: str, cookie: tuple[bytes, bytes]) -> Connection:
    return Connection("GET", f"{CHANGES}?of={of}", [cookie])


async def test_a_page_is_told_of_a_change_once(
    api: FastAPI, store: InMemoryStore, churn_id: str, steps: PollSteps, cookie: Any, process: Callable[..., Process]
) -> None:
    running = process(1)
    await store.create_process(running, 3600)
    stream = stream_of("process:tune-1", await cookie("ana"))
    async with held(Application(api), [stream]):
        await steps.step(3)
        assert events(stream) == ["revision"]
        await store.save_process(running.with_progress(NOW + 9, {"trials_done": 3}))
        await steps.step(3)
        assert events(stream) == ["revision", "changed"]


@pytest.mark.parametrize("of", ["fleet", "processes", "model:churn"])
async def test_each_overview_hears_of_a_new_process(
    api: FastAPI,
    store: InMemoryStore,
    churn_id: str,
    steps: PollSteps,
    cookie: Any,
    process: Callable[..., Process],
    of: str,
) -> None:
    stream = stream_of(of, await cookie("ana"))
    async with held(Application(api), [stream]):
        await steps.step(2)
        await store.create_process(process(1), 3600)
        await steps.step(2)
        assert events(stream) == ["revision", "changed"]


async def test_pages_of_one_subject_share_its_polls(
    api: FastAPI,
    agent: OptimizationAgent,
    churn_id: str,
    steps: PollSteps,
    cookie: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    fleet = agent.fleet

    async def count_looks(*question: Any) -> Any:
        nonlocal looks
        looks += 1
        return await fleet(*question)

    monkeypatch.setattr(agent, "fleet", count_looks)
    header = await cookie("ana")
    async with held(Application(api), [stream_of("fleet", header) for _ in range(10)]):
        opened = looks
        await steps.step(5)
        assert looks - opened <= 6


async def test_a_token_has_thirty_pages_open_at_most(
    api: FastAPI, churn_id: str, steps: PollSteps, cookie: Any
) -> None:
    application, header = Application(api), await cookie("ana")
    async with held(application, [stream_of("fleet", header) for _ in range(30)]):
        async with asyncio.timeout(10):
            while api.state.page_polls.watchers.count < 30:
                await asyncio.sleep(0)
        assert (await answer(application, stream_of("fleet", header))).status == 429
    assert api.state.page_polls.watchers.count == 0


async def test_a_stream_ends_with_its_token(
    api: FastAPI, agent: OptimizationAgent, clock: ManualClock, churn_id: str, steps: PollSteps, cookie: Any
) -> None:
    stream = stream_of("fleet", await cookie("ana"))
    async with held(Application(api), [stream]):
        (token,) = [each for each in await agent.tokens() if each.name == "ana"]
        await agent.revoke_token(token.token_id)
        clock.advance(10)
        await steps.step(12)
        assert not stream.messages[-1].get("more_body", False)
    assert api.state.page_polls.watchers.count == 0


async def test_a_limited_token_hears_of_its_models_only(
    api: FastAPI, store: InMemoryStore, churn_id: str, steps: PollSteps, cookie: Any, process: Callable[..., Process]
) -> None:
    await store.save_model(replace(await store.model("churn"), model_id="delays"))
    application, header = Application(api), await cookie("bot", models=["churn"])
    assert (await answer(application, stream_of("model:delays", header))).status == 403
    fleet = stream_of("fleet", header)
    async with held(application, [fleet]):
        await store.create_process(process(1, model_id="delays"), 3600)
        await steps.step(3)
        assert events(fleet) == ["revision"]


@pytest.mark.parametrize(("of", "status"), [("luck", 422), ("process:none", 404), ("model:none", 404), ("", 422)])
async def test_what_is_not_there_is_refused(
    api: FastAPI, steps: PollSteps, cookie: Any, churn_id: str, of: str, status: int
) -> None:
    refused = await answer(Application(api), stream_of(of, await cookie("ana")))
    assert refused.status == status
    assert api.state.page_polls.watchers.count == 0


async def test_revisions_are_of_what_is_shown_alone(
    agent: OptimizationAgent, churn_id: str, clock: ManualClock
) -> None:
    subject = PageSubject("fleet", "", (), agent)
    before = await revision_of(subject)
    clock.advance(60)
    assert await revision_of(subject) == before
