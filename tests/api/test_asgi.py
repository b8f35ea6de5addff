"""Root of the HTTP application: the plane of a request, the limit of its body, and its id."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from serve_app.asgi import Application


class Echo:
    """A data plane that answers how much it was sent."""

    def handles(self, scope: Scope) -> bool:
        return bool(scope["path"].endswith("/predict"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, more_body = 0, True
        while more_body:
            message = await receive()
            size, more_body = size + len(message["body"]), message.get("more_body", False)
        if size == 13:
            raise KeyError("thirteen")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-plane", b"data")]})
        await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture
async def client(api: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Application(api, Echo()))
    async with httpx.AsyncClient(transport=transport, base_url="http://optagent/api/v1") as client:
        yield client


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 1000


async def test_predictions_go_to_the_data_plane_and_all_else_to_the_api(client: httpx.AsyncClient):
    assert (await client.post("/models/churn/predict", content=b"abc")).headers["x-plane"] == "data"
    assert "x-plane" not in (await client.get("/optimization/health")).headers


@pytest.mark.parametrize("path", ["/models/churn/predict", "/optimization/analyze"])
async def test_a_body_that_says_it_is_too_long_is_refused_unread(client: httpx.AsyncClient, path: str):
    answer = await client.post(path, content=b"x" * 100_001)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert "100,000 bytes" in answer.json()["detail"]


async def test_a_body_that_does_not_say_its_length_is_refused_once_it_is_too_long(client: httpx.AsyncClient):
    assert (await client.post("/models/churn/predict", content=chunks(100))).text == "100000"
    assert (await client.post("/models/churn/predict", content=chunks(101))).status_code == 413


async def test_each_answer_has_the_number_of_its_request(client: httpx.AsyncClient):
    first, second = [(await client.get("/models")).headers["x-request-id"] for _ in range(2)]
    assert first != second
    answer = await client.get("/models", headers={"X-Request-ID": "my-request.7"})
    assert answer.headers["x-request-id"] == answer.json()["instance"] == "my-request.7"
    assert (await client.post("/models/churn/predict", content=b"abc")).headers["x-request-id"]


@pytest.mark.parametrize("bad", ["", "a b", "x" * 101, "a\tb", "é"])
async def test_a_number_that_could_do_harm_is_replaced(client: httpx.AsyncClient, bad: str):
    answer = await client.get("/models", headers={"X-Request-ID": bad.encode()})
    assert answer.headers["x-request-id"] != bad


async def test_what_a_plane_raises_is_answered_without_its_text(client: httpx.AsyncClient):
    answer = await client.post("/models/churn/predict", content=b"x" * 13)
    assert answer.status_code == 500
    assert "thirteen" not in answer.text
    assert json.loads(answer.text)["instance"] == answer.headers["x-request-id"]


async def test_the_lifespan_is_the_applications(api: FastAPI):
    sent_types: list[str] = []
    received_types = iter(("lifespan.startup", "lifespan.shutdown"))

    async def receive() -> dict[str, str]:
        return {"type": next(received_types)}

    async def send(message: dict[str, str]) -> None:
        sent_types.append(message["type"])

    await Application(api)({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    assert sent_types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_behind_a_server_that_tells_the_request_id_it_is_not_told_twice(api: FastAPI):
    transport = httpx.ASGITransport(Application(api, Echo(), tells_id=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        answer = await client.get("/api/v1/models", headers={"X-Request-ID": "mine"})
    assert "x-request-id" not in answer.headers
    assert answer.json()["instance"].endswith("mine")
