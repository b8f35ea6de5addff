"""The root of the HTTP application: numbers requests, bounds their bodies, and hands them to the plane that answers."""

import logging
import re
import secrets
from typing import Protocol

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from optagent.errors import TooLarge
from serve_app.api.errors import problem_response

REQUEST_ID = b"x-request-id"

_SANE = re.compile(rb"[A-Za-z0-9._\-]{1,100}")

_log = logging.getLogger("optagent.api")


class PredictionHandler(Protocol):
    """Answers predictions and labels, without FastAPI."""

    def handles(self, scope: Scope) -> bool: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Application:
    """Predictions to the data plane, all else to the API; what neither of them answers is a problem document.

    `tells_id` is False behind a server that tells the request's id by itself, as Ray Serve does.
    """

    def __init__(self, api: FastAPI, data_plane: PredictionHandler | None = None, tells_id: bool = True) -> None:
        self._api = api
        self._data_plane = data_plane
        self._tells_id = tells_id
        self._max_body_bytes: int = api.state.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the lifespan, and websockets, which there are none of
            await self._api(scope, receive, send)
            return
        length, request_id = _read(scope)
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        answer = _Answer(send, request_id if self._tells_id else None)
        try:
            if length is None:
                receive = _bounded(receive, self._max_body_bytes)
            elif length > self._max_body_bytes:
                raise _too_large(self._max_body_bytes)
            plane = self._data_plane
            await (plane if plane is not None and plane.handles(scope) else self._api)(scope, receive, answer)
        except Exception as error:
            if answer.ended:  # it was answered and logged where it happened
                return
            if answer.started:
                raise
            await problem_response(error, request_id.decode())(scope, receive, answer)


class _Answer:
    """Sends on what a plane answers, with the request's id if there is one to tell."""

    __slots__ = ("_request_id", "_send", "ended", "started")

    def __init__(self, send: Send, request_id: bytes | None) -> None:
        self._send = send
        self._request_id = request_id
        self.started = self.ended = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            if self._request_id is not None:
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, self._request_id)]
        elif not message.get("more_body", False):
            self.ended = True
        await self._send(message)


def _read(scope: Scope) -> tuple[int | None, bytes]:
    """The length of the body, None where it is not said, and the request's id: a sane one that came, or a new one."""
    length, request_id = None, b""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == REQUEST_ID and _SANE.fullmatch(value):
            request_id = value
    return length, request_id or secrets.token_hex(12).encode()


def _bounded(receive: Receive, most: int) -> Receive:
    """The same, but raises TooLarge as soon as more has come: for bodies that do not say their length."""
    left = most

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _too_large(most)
        return message

    return bounded


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the body is larger than {most:,} bytes, the most that one request may have")
