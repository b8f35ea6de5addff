"""Root of the HTTP application: it gives requests an id, bounds their bodies, and passes them to one of the planes."""

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
    """Passes predictions to the data plane and all else to the API; an error of either becomes a problem document.

    `tells_id` is False behind a server that sends the id of the request by itself, as Ray Serve does.
    """

    def __init__(self, api: FastAPI, data_plane: PredictionHandler | None = None, tells_id: bool = True) -> None:
        self._api = api
        self._data_plane = data_plane
        self._tells_id = tells_id
        self._max_body_bytes: int = api.state.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the lifespan, and websockets, of which the API has none
            await self._api(scope, receive, send)
            return
        length, request_id = _read_head(scope)
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        sender = _ResponseSender(send, request_id if self._tells_id else None)
        try:
            if length is None:
                receive = _limit_body(receive, self._max_body_bytes)
            elif length > self._max_body_bytes:
                raise _too_large(self._max_body_bytes)
            plane = self._data_plane
            await (plane if plane is not None and plane.handles(scope) else self._api)(scope, receive, sender)
        except Exception as error:
            if sender.ended:  # the error was answered and logged where it happened
                return
            if sender.started:
                raise
            await problem_response(error, request_id.decode())(scope, receive, sender)


class _ResponseSender:
    """Sends the messages of a plane on, with the id of the request if that is to be sent."""

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


def _read_head(scope: Scope) -> tuple[int | None, bytes]:
    """The length of the body, None if unknown, and the id of the request: a valid one that was sent, or a new one."""
    length, request_id = None, b""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == REQUEST_ID and _SANE.fullmatch(value):
            request_id = value
    return length, request_id or secrets.token_hex(12).encode()


def _limit_body(receive: Receive, max_bytes: int) -> Receive:
    """A `receive` that raises TooLarge as soon as more bytes have come, for bodies of unknown length."""
    remaining = max_bytes

    async def receive_limited() -> Message:
        nonlocal remaining
        message = await receive()
        remaining -= len(message.get("body", b""))
        if remaining < 0:
            raise _too_large(max_bytes)
        return message

    return receive_limited


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body is larger than {max_bytes:,} bytes, the most that one request may have")
