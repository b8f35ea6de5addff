"""Bodies that never end, come slowly, or are sent where none is read hold neither a place nor memory."""

import asyncio

import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from optagent.agent import OptimizationAgent
from optagent.domain.process import Process
from serve_app.asgi import Application
from tests.security.asgi_calls import CHUNKED, Connection, answer

SIGN_IN = "/dashboard/sign-in"
FORM = (b"content-type", b"application/x-www-form-urlencoded")
PREDICT = "/api/v1/models/churn/predict"


class ReadsAll:
    """A data plane that reads its body, or waits without reading it."""

    def __init__(self, reads: bool = True) -> None:
        self._reads = reads

    def handles(self, scope: Scope) -> bool:
        return bool(scope["path"].endswith("/predict"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        more_body = True
        while more_body:
            if not self._reads:
                await asyncio.sleep(60)
            more_body = (await receive()).get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"read"})


@pytest.mark.parametrize("length", [CHUNKED, (b"content-length", b"50")], ids=["chunked", "declared"])
@pytest.mark.parametrize("path", [SIGN_IN, PREDICT])
async def test_a_body_that_never_ends_is_408_and_ends_the_connection(
    api: FastAPI, path: str, length: tuple[bytes, bytes]
) -> None:
    slow = Connection("POST", path, [FORM, length], ends=False)
    slow.chunks = [b"token="]
    await answer(Application(api, ReadsAll(), body_s=0.05), slow)
    assert slow.status == 408
    assert "after 0.05 s" in slow.text
    assert slow.headers[b"connection"] == b"close"


async def test_a_body_that_trickles_in_has_no_more_time_than_one_that_stands_still(api: FastAPI) -> None:
    slow = Connection("POST", PREDICT, [CHUNKED], ends=False)

    async def trickle() -> dict[str, object]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b".", "more_body": True}

    slow.receive = trickle  # type: ignore[method-assign]
    await answer(Application(api, ReadsAll(), body_s=0.2), slow)
    assert slow.status == 408


@pytest.mark.parametrize("length", [CHUNKED, (b"content-length", b"5000000")], ids=["chunked", "declared"])
async def test_a_form_is_refused_above_ten_thousand_bytes_while_it_comes(
    api: FastAPI, length: tuple[bytes, bytes]
) -> None:
    large = Connection("POST", SIGN_IN, [FORM, length])
    large.chunks = [b"token=" + b"x" * 5_000 for _ in range(1000)]
    await answer(Application(api), large)
    assert large.status == 413
    assert "10,000 bytes" in large.text
    assert large.taken < 20_000
    assert large.headers[b"connection"] == b"close"


async def test_chunks_that_no_handler_reads_are_taken_up_to_the_limit_and_end_the_request(api: FastAPI) -> None:
    flood = Connection("POST", PREDICT, [CHUNKED])
    flood.endless = b"x" * 10_000
    await answer(Application(api, ReadsAll(reads=False)), flood)
    assert flood.status == 413
    assert flood.taken <= 110_000
    assert flood.headers[b"connection"] == b"close"


@pytest.mark.parametrize("length", [CHUNKED, (b"content-length", b"7")], ids=["chunked", "declared"])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/optimization/status/tune-1?wait=60", 400),
        ("DELETE", "/api/v1/tokens/0123456789ab", 400),
        ("HEAD", "/api/v1/models", 405),
    ],
)
async def test_a_body_where_none_belongs_is_refused_before_any_handler_waits(
    api: FastAPI, agent: OptimizationAgent, method: str, path: str, status: int, length: tuple[bytes, bytes]
) -> None:
    text, _ = await agent.create_token("reader", ["admin"])
    flood = Connection(method, path, [length, (b"authorization", f"Bearer {text}".encode())])
    flood.endless = b"x" * 10_000

    async def process(process_id: str) -> Process:
        raise AssertionError("a handler was asked")

    agent.process = process  # type: ignore[method-assign]
    await answer(Application(api), flood)
    assert flood.status == status
    assert flood.taken == 0 or status == 405  # which is the router's, at once
    assert flood.headers[b"connection"] == b"close"


async def test_a_body_in_chunks_reaches_its_handler_whole_and_keeps_the_connection(api: FastAPI) -> None:
    fine = Connection("POST", PREDICT, [CHUNKED])
    fine.chunks = [b"ab", b"cd"]
    await answer(Application(api, ReadsAll()), fine)
    assert (fine.status, fine.taken) == (200, 4)
    assert b"connection" not in fine.headers


async def test_a_refusal_that_leaves_a_body_unread_ends_the_connection(api: FastAPI) -> None:
    stranger = Connection("POST", "/api/v1/optimization/analyze", [CHUNKED])
    stranger.endless = b"x" * 100
    await answer(Application(api), stranger)
    assert stranger.status == 401
    assert stranger.headers[b"connection"] == b"close"


async def test_a_body_that_is_cut_off_is_not_taken_for_a_whole_one(api: FastAPI) -> None:
    cut = Connection("POST", PREDICT, [(b"content-length", b"10")], ends=False)
    cut.chunks = [b"12345"]
    cut.hung_up.set()
    await answer(Application(api, ReadsAll()), cut)
    assert cut.status == 400
