"""Idempotency keys: a request that is sent again under its `Idempotency-Key` is done once (IETF draft of that name)."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from optagent.domain.token import Token
from optagent.errors import InvalidRequest, Unavailable
from optagent.ports import IdempotencyStore

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "description": "The same request under the same key is done once, and answered alike for a day.",
}

_STORED_S = 24 * 3600.0
_CLAIMED_S = 60.0  # then a request whose gateway died may be tried again
_COPIED = ("content-type", "etag", "location")

_log = logging.getLogger("optagent.api")


class _StoredResponse(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Stores the answers of successful requests. A refused or failed request did nothing, and may be sent again.

    Fields that are `shown_once` are not stored: they are null where the answer is repeated.
    """

    kept: IdempotencyStore

    async def run_once(
        self,
        request: Request,
        token: Token,
        answer: Callable[[], Awaitable[Response]],
        shown_once: Sequence[str] = (),
    ) -> Response:
        """Raises InvalidRequest for a malformed key or one of another request, and Conflict while its request runs."""
        header = request.headers[HEADER]
        if not (0 < len(header) <= 255 and header.isascii() and header.isprintable()):
            raise InvalidRequest(f"{HEADER}: up to 255 printable ASCII characters are needed")
        key = f"{token.token_id}:{header}"
        digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + await request.body()).hexdigest()
        earlier_answer = await self.kept.claim(key, digest, _CLAIMED_S)
        if earlier_answer is not None:
            return _replay_response(earlier_answer)
        try:
            response = await answer()
        except Exception:
            await self._ignore_unavailable(self.kept.release(key, digest))
            raise
        await self._ignore_unavailable(self.kept.keep(key, digest, _pack_response(response, shown_once), _STORED_S))
        return response

    async def _ignore_unavailable(self, work: Awaitable[None]) -> None:
        """Waits for `work`. The request is answered even where the store has become unavailable since the claim."""
        try:
            await asyncio.shield(asyncio.ensure_future(work))
        except Unavailable as error:
            _log.warning("an idempotency key stays claimed for %g s: %s", _CLAIMED_S, error)


def _pack_response(response: Response, shown_once: Sequence[str]) -> bytes:
    body = bytes(response.body)
    if shown_once:
        body = json.dumps({**json.loads(body), **dict.fromkeys(shown_once)}).encode()
    headers = {name: value for name, value in response.headers.items() if name in _COPIED}
    return msgspec.msgpack.encode(_StoredResponse(response.status_code, headers, body))


def _replay_response(packed: bytes) -> Response:
    answer = msgspec.msgpack.decode(packed, type=_StoredResponse)
    return Response(answer.body, answer.status, {**answer.headers, REPLAYED: "true"})
