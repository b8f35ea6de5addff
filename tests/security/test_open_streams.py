"""Streams and long waits: few a token, a bounded number for all, one poll a process, and no longer than their token."""

import asyncio
from collections.abc import Callable

import pytest
from fastapi import FastAPI

from optagent.adapters.in_memory.clock import ManualClock
from optagent.agent import OptimizationAgent
from optagent.domain.process import Process
from serve_app.api.monitoring import ProcessPolls
from serve_app.asgi import Application
from tests.security.asgi_calls import Connection, answer, held
from tests.security.poll_steps import PollSteps

STATUS = "/api/v1/optimization/status/tune-1"
EVENTS = f"{STATUS}/events"


class Steps(PollSteps):
    """The steps of polls of a process. Counts the looks at it."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process
        self.looks = 0

    async def find(self, process_id: str) -> Process:
        self.looks += 1
        return self.process


@pytest.fixture
def steps(api: FastAPI, agent: OptimizationAgent, process: Callable[..., Process]) -> Steps:
    steps = Steps(process())

    async def find(process_id: str) -> Process:
        return steps.process

    agent.process = find  # type: ignore[method-assign]
    api.state.polls = ProcessPolls(steps.find, steps.sleep)
    return steps


async def header_of(agent: OptimizationAgent, name: str) -> tuple[bytes, bytes]:
    text, _ = await agent.create_token(name, ["read"])
    return b"authorization", f"Bearer {text}".encode()


@pytest.mark.parametrize("path", [EVENTS, f"{STATUS}?wait=60"])
async def test_a_token_holds_four_streams_or_waits_and_the_fifth_is_429(
    api: FastAPI, agent: OptimizationAgent, steps: Steps, path: str
) -> None:
    application = Application(api)
    header, other = await header_of(agent, "many"), await header_of(agent, "one")
    async with held(application, [Connection("GET", path, [header]) for _ in range(4)]):
        for refused_path in (EVENTS, f"{STATUS}?wait=1"):
            refused = await answer(application, Connection("GET", refused_path, [header]))
            assert refused.status == 429
            assert "4 waits and streams of this caller are open" in refused.document["detail"]
        assert (await answer(application, Connection("GET", STATUS, [header]))).status == 200
        stream = Connection("GET", EVENTS, [other])
        async with held(application, [stream]):
            assert stream.status == 200
    assert api.state.polls.watchers.count == 0


async def test_all_tokens_together_hold_two_hundred(api: FastAPI, agent: OptimizationAgent, steps: Steps) -> None:
    application = Application(api)
    headers = [await header_of(agent, f"reader {number}") for number in range(51)]
    streams = [Connection("GET", EVENTS, [header]) for header in headers[:50] for _ in range(4)]
    async with held(application, streams):
        for _ in range(100):
            await asyncio.sleep(0)
        assert api.state.polls.watchers.count == 200
        refused = await answer(application, Connection("GET", EVENTS, [headers[50]]))
        assert refused.status == 429
        assert "all 200 places of this gateway for waits and streams are taken" in refused.document["detail"]


async def test_streams_of_one_process_share_one_poll_of_control(
    api: FastAPI, agent: OptimizationAgent, steps: Steps
) -> None:
    application = Application(api)
    headers = [await header_of(agent, f"reader {number}") for number in range(25)]
    streams = [Connection("GET", EVENTS, [header]) for header in headers for _ in range(4)]
    async with held(application, streams):
        await steps.step(5)
        assert all(stream.status == 200 for stream in streams)
        assert 1 <= steps.looks <= 6


async def test_a_stream_ends_with_its_token(
    api: FastAPI, agent: OptimizationAgent, steps: Steps, clock: ManualClock
) -> None:
    application = Application(api)
    header, other = await header_of(agent, "revoked"), await header_of(agent, "stays")
    revoked_id = header[1].decode().split("_")[1]
    ends, goes_on = (Connection("GET", EVENTS, [each]) for each in (header, other))
    async with held(application, [ends, goes_on]):
        await steps.step(2)
        await agent.revoke_token(revoked_id)
        clock.advance(3)
        await steps.step(8)
        assert not ends.messages[-1].get("more_body", False)
        assert goes_on.messages[-1].get("more_body", True)
        assert api.state.polls.watchers.count == 1
