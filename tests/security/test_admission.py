"""Each kind of request has places of its own: whoever takes all of one kind stops no other."""

import asyncio

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from optagent.agent import OptimizationAgent
from serve_app.asgi import Application
from tests.security.asgi_calls import Connection, answer, held

PREDICT = "/api/v1/models/churn/predict"
SIGN_IN = "/dashboard/sign-in"
HEALTH = "/api/v1/optimization/health"
FORM = [(b"content-type", b"application/x-www-form-urlencoded"), (b"content-length", b"50")]


class Waits:
    """A data plane whose predictions wait while they are told to."""

    def __init__(self) -> None:
        self.free = asyncio.Event()

    def handles(self, scope: Scope) -> bool:
        return bool(scope["path"].endswith("/predict"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.free.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"predicted"})


async def known_header(application: Application, agent: OptimizationAgent, name: str) -> tuple[bytes, bytes]:
    """The header of a new token that the gateway has looked up."""
    text, _ = await agent.create_token(name, ["predict", "read"])
    header = (b"authorization", f"Bearer {text}".encode())
    assert (await answer(application, Connection("GET", "/api/v1/models", [header]))).status == 200
    return header


async def test_sign_in_forms_that_never_end_leave_predictions_calls_and_health_alone(
    api: FastAPI, agent: OptimizationAgent
) -> None:
    plane = Waits()
    plane.free.set()
    application = Application(api, plane, body_s=600)
    header = await known_header(application, agent, "shop")
    async with held(application, [Connection("POST", SIGN_IN, FORM, ends=False) for _ in range(1000)]):
        assert (await answer(application, Connection("POST", PREDICT, [header]))).status == 200
        assert (await answer(application, Connection("GET", "/api/v1/models", [header]))).status == 200
        assert (await answer(application, Connection("GET", HEALTH, []))).status == 200
        stranger = await answer(application, Connection("GET", SIGN_IN, []))
        assert stranger.status == 429
        assert b"retry-after" in stranger.headers
        assert "places of this gateway for requests without a known token" in stranger.document["detail"]
    assert application.admission.strangers.count == 0
    assert (await answer(application, Connection("GET", SIGN_IN, []))).status == 200


async def test_one_token_takes_half_of_the_predictions_and_others_the_rest(
    api: FastAPI, agent: OptimizationAgent
) -> None:
    plane = Waits()
    application = Application(api, plane)
    greedy, modest = [await known_header(application, agent, name) for name in ("greedy", "modest")]
    async with held(application, [Connection("POST", PREDICT, [greedy]) for _ in range(1000)]):
        assert application.admission.predictions.count == 500
        refused = await answer(application, Connection("POST", PREDICT, [greedy]))
        assert refused.status == 429
        assert "500 predictions of this caller are open" in refused.document["detail"]
        async with held(application, [Connection("POST", PREDICT, [modest]) for _ in range(100)]):
            assert application.admission.predictions.count == 600
            assert (await answer(application, Connection("GET", "/api/v1/models", [greedy]))).status == 200
    assert application.admission.predictions.count == 0


async def test_an_invented_token_finds_the_places_of_strangers_only(api: FastAPI, agent: OptimizationAgent) -> None:
    application = Application(api, Waits())
    _, header = await known_header(application, agent, "shop")
    invented = [
        (b"authorization", b"Bearer oa_" + b"0" * 12 + b"_" + b"A" * 43),
        (b"authorization", header[:-1] + (b"A" if header[-1:] != b"A" else b"B")),  # the id of a token, not its secret
    ]
    for other in invented:
        async with held(application, [Connection("POST", PREDICT, [other]) for _ in range(300)]):
            assert application.admission.predictions.count == 0
            assert application.admission.strangers.count == 200


async def test_a_place_is_free_again_whatever_became_of_its_request(api: FastAPI, agent: OptimizationAgent) -> None:
    application = Application(api, Waits())
    header = await known_header(application, agent, "shop")
    for request in (Connection("GET", "/nowhere", [header]), Connection("POST", SIGN_IN, FORM[1:])):
        await answer(application, request)
    async with held(application, [Connection("POST", PREDICT, [header]) for _ in range(3)]):
        assert application.admission.predictions.count == 3
    admission = application.admission
    assert [kind.count for kind in (admission.predictions, admission.calls, admission.strangers)] == [0, 0, 0]
