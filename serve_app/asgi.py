"""Root of the HTTP application: it gives requests an id, bounds their bodies, and passes them to one of the planes."""

import logging
import re
import secrets
from collections.abc import Mapping
from typing import Protocol

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from optagent.errors import Malformed
from serve_app.admission import Admission
from serve_app.api.errors import allowed_methods, problem_response
from serve_app.dashboard.form import LONGEST_FORM
from serve_app.dashboard.session import PREFIX as DASHBOARD
from serve_app.request_body import IncomingBody

REQUEST_ID = b"x-request-id"

_SANE = re.compile(rb"[A-Za-z0-9._\-]{1,100}")
_READ_HERE = frozenset({b"content-length", b"transfer-encoding", b"authorization", b"cookie", REQUEST_ID})
_WITHOUT_BODY = frozenset({"DELETE", "GET", "HEAD"})

_log = logging.getLogger("optagent.api")


class PredictionHandler(Protocol):
    """Answers predictions and labels, without FastAPI."""

    def handles(self, scope: Scope) -> bool: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Application:
    """Passes predictions to the data plane and all else to the API; an error of either becomes a problem document.

    `tells_id` is False behind a server that sends the id of the request by itself, as Ray Serve does. `body_s` is the
    time in which a body has to come, where not that of `IncomingBody`.
    """

    def __init__(
        self,
        api: FastAPI,
        data_plane: PredictionHandler | None = None,
        tells_id: bool = True,
        body_s: float | None = None,
    ) -> None:
        self._api = api
        self._data_plane = data_plane
        self._tells_id = tells_id
        self._body_s = body_s
        self._max_body_bytes: int = api.state.max_body_bytes
        self.admission = Admission(api.state.knows_token, DASHBOARD)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the lifespan, and websockets, of which the API has none
            await self._api(scope, receive, send)
            return
        headers = _read_head(scope)
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        body = self._incoming_body(scope["path"], headers, receive)
        sender = _ResponseSender(send, request_id if self._tells_id else None, body)
        try:
            await self._admit(scope, headers, receive, sender, body)
        except Exception as error:
            if sender.ended:  # the error was answered and logged where it happened
                return
            if sender.started:
                raise
            await problem_response(error, request_id.decode())(scope, receive, sender)

    async def _admit(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send, body: IncomingBody | None
    ) -> None:
        """Answers the request in a place of its kind."""
        method = scope["method"]
        if body is not None and method in _WITHOUT_BODY and method in allowed_methods(self._api, scope["path"]):
            raise Malformed(f"a request of the method {method} has no body: send it without one")
        plane = self._data_plane
        is_prediction = plane is not None and plane.handles(scope)
        handler = plane if plane is not None and is_prediction else self._api
        places, caller = self.admission.choose(scope, headers, is_prediction)
        with places.place(caller):
            if body is None:
                await handler(scope, receive, send)
            else:
                await body.handle(lambda bounded: handler(scope, bounded, send))

    def _incoming_body(self, path: str, headers: Mapping[bytes, bytes], receive: Receive) -> IncomingBody | None:
        """The body of a request, None where it has none."""
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" not in headers and length == b"0":
            return None
        max_bytes = min(self._max_body_bytes, LONGEST_FORM) if path.startswith(DASHBOARD) else self._max_body_bytes
        declared = int(length) if b"transfer-encoding" not in headers and length.isdigit() else None
        return IncomingBody(receive, max_bytes, declared, self._body_s)


class _ResponseSender:
    """Sends the messages of a plane on, with the id of the request if that is to be sent.

    An answer that comes before the end of the request's body ends the connection, or the rest would still be read.
    """

    __slots__ = ("_body", "_request_id", "_send", "ended", "started")

    def __init__(self, send: Send, request_id: bytes | None, body: IncomingBody | None) -> None:
        self._send = send
        self._request_id = request_id
        self._body = body
        self.started = self.ended = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            if self._request_id is not None:
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, self._request_id)]
            if self._body is not None and not self._body.ended:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        elif not message.get("more_body", False):
            self.ended = True
        await self._send(message)


def _read_head(scope: Scope) -> dict[bytes, bytes]:
    """The headers that decide how a request is taken in, by name."""
    return {name: value for name, value in scope["headers"] if name in _READ_HERE}


def _request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """The id of the request: a valid one that was sent, or a new one."""
    request_id = headers.get(REQUEST_ID, b"")
    return request_id if _SANE.fullmatch(request_id) else secrets.token_hex(12).encode()
