"""Idempotency keys: a request that is sent again under its `Idempotency-Key` is done once (IETF draft of that name)."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from optagent.domain.idempotency import KeyClaim, KeyRules
from optagent.domain.token import Token
from optagent.errors import Conflict, InvalidRequest, Unavailable
from optagent.held_tasks import HeldTasks
from optagent.ports import IdempotencyStore
from serve_app.api.errors import problem

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "description": "The same request under the same key is done once, and answered alike for a day.",
}

RULES = KeyRules(
    held_s=60.0,  # then a request whose gateway died may be sent again
    kept_s=24 * 3600.0,
    most_keys=10_000,  # with the bound of an answer, one token fills at most 320 MB of Redis
)
MAX_ANSWER_BYTES = 32_768
"""The most bytes of an answer that is stored; the usual one has a few hundred."""

_RENEW_S = RULES.held_s / 3
_COPIED = ("content-type", "etag", "location")

_log = logging.getLogger("optagent.api")


class _StoredResponse(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes | None  # None: it was too large to be stored


class Idempotency:
    """Stores the answers of successful requests, which are done to their end although the client hangs up.

    A refused request did nothing: its key may be used again. A failed one may have been done, or is done still: under
    its key it may be sent again, with ids that follow from `act_id`, so that what was made is not made twice. Fields
    that are `shown_once` are not stored: they are null where the answer is repeated.
    """

    def __init__(self, store: IdempotencyStore, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._store = store
        self._sleep = sleep
        self._tasks = HeldTasks()

    async def run_once(
        self,
        request: Request,
        token: Token,
        answer: Callable[[str], Awaitable[Response]],
        shown_once: Sequence[str] = (),
    ) -> Response:
        """The response of `answer`, which is called with the id of the act, or the stored one.

        Raises InvalidRequest for a malformed key or one of another request, Conflict while its request runs and where
        its answer was too large to be stored, and TooManyRequests.
        """
        header = request.headers[HEADER]
        if not (0 < len(header) <= 255 and header.isascii() and header.isprintable()):
            raise InvalidRequest(f"{HEADER}: up to 255 printable ASCII characters are needed")
        digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + await request.body()).hexdigest()

        async def run() -> Response:
            claim = await self._store.claim(token.token_id, header, digest, RULES)
            if claim.answer is not None:
                return _replay_response(claim.answer)
            return await self._answer(claim, request, answer, shown_once)

        return await self._tasks.run(run())

    async def close(self) -> None:
        """Waits for the requests that are under way."""
        await self._tasks.close()

    async def _answer(
        self,
        claim: KeyClaim,
        request: Request,
        answer: Callable[[str], Awaitable[Response]],
        shown_once: Sequence[str],
    ) -> Response:
        has_ended = asyncio.Event()
        renewals = asyncio.ensure_future(self._renew_until(has_ended, claim))
        try:
            response = await answer(claim.act_id)
        except Exception as error:
            is_refusal = claim.is_first and problem(error, "")[0] < 500
            await self._try(self._store.release(claim) if is_refusal else self._store.suspend(claim))
            raise
        finally:
            has_ended.set()  # a cancellation can be lost, see `Run.end_beats`
            renewals.cancel()
        if getattr(request.state, "may_go_on", False):
            await self._try(self._store.suspend(claim))
        else:
            await self._try(self._store.keep(claim, _pack_response(response, shown_once), RULES))
        return response

    async def _renew_until(self, has_ended: asyncio.Event, claim: KeyClaim) -> None:
        while not has_ended.is_set():
            await self._sleep(_RENEW_S)
            await self._try(self._store.renew(claim, RULES))

    async def _try(self, work: Coroutine[Any, Any, None]) -> None:
        """Waits for `work`. The request is answered even where the store has become unavailable since the claim."""
        try:
            await work
        except Unavailable as error:
            _log.warning("an idempotency key stays claimed for %g s: %s", RULES.held_s, error)


def mark_unfinished(request: Request) -> None:
    """Lets a request that is answered be sent again under its key, since a part of it failed and may be done yet."""
    request.state.may_go_on = True


def _pack_response(response: Response, shown_once: Sequence[str]) -> bytes:
    body = bytes(response.body)
    if shown_once:
        body = json.dumps({**json.loads(body), **dict.fromkeys(shown_once)}).encode()
    stored_body = body if len(body) <= MAX_ANSWER_BYTES else None
    headers = {name: value for name, value in response.headers.items() if name in _COPIED}
    return msgspec.msgpack.encode(_StoredResponse(response.status_code, headers, stored_body))


def _replay_response(packed: bytes) -> Response:
    stored = msgspec.msgpack.decode(packed, type=_StoredResponse)
    if stored.body is None:
        place = f", see {stored.headers['location']}" if "location" in stored.headers else ""
        raise Conflict(
            f"this request was done and answered with {stored.status}; the answer is not repeated, since it was larger "
            f"than {MAX_ANSWER_BYTES:,} bytes{place}"
        )
    return Response(stored.body, stored.status, {**stored.headers, REPLAYED: "true"})
