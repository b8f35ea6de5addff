"""The same request under the same key is done once: `Idempotency-Key`, as in the IETF draft of that name."""

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

_KEPT_S = 24 * 3600.0
_HELD_S = 60.0  # then a request whose gateway died may be tried again
_COPIED = ("content-type", "location")

_log = logging.getLogger("optagent.api")


class _Kept(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Keeps what was answered to requests that were done. A refused or failed one did nothing, and may be tried again.

    Of the fields that are `shown_once` nothing is kept: where the answer is repeated they are null.
    """

    kept: IdempotencyStore

    async def once(
        self,
        request: Request,
        token: Token,
        answer: Callable[[], Awaitable[Response]],
        shown_once: Sequence[str] = (),
    ) -> Response:
        """Raises InvalidRequest for a key that is none or was another request's, and Conflict while it is under way."""
        given = request.headers[HEADER]
        if not (0 < len(given) <= 255 and given.isascii() and given.isprintable()):
            raise InvalidRequest(f"{HEADER}: up to 255 printable ASCII characters are needed")
        key = f"{token.token_id}:{given}"
        digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + await request.body()).hexdigest()
        before = await self.kept.claim(key, digest, _HELD_S)
        if before is not None:
            return _again(before)
        try:
            response = await answer()
        except Exception:
            await self._quietly(self.kept.release(key, digest))
            raise
        await self._quietly(self.kept.keep(key, digest, _packed(response, shown_once), _KEPT_S))
        return response

    async def _quietly(self, work: Awaitable[None]) -> None:
        """The request is answered as it is, also where the store has gone away since it was claimed."""
        try:
            await asyncio.shield(asyncio.ensure_future(work))
        except Unavailable as error:
            _log.warning("an idempotency key stays claimed for %g s: %s", _HELD_S, error)


def _packed(response: Response, shown_once: Sequence[str]) -> bytes:
    body = bytes(response.body)
    if shown_once:
        body = json.dumps({**json.loads(body), **dict.fromkeys(shown_once)}).encode()
    headers = {name: value for name, value in response.headers.items() if name in _COPIED}
    return msgspec.msgpack.encode(_Kept(response.status_code, headers, body))


def _again(packed: bytes) -> Response:
    kept = msgspec.msgpack.decode(packed, type=_Kept)
    return Response(kept.body, kept.status, {**kept.headers, REPLAYED: "true"})
