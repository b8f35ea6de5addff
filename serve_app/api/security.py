"""Guards of the routes: the token of the caller, its scope, the JSON body, and the idempotency key."""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from optagent.agent import OptimizationAgent
from optagent.codec import without_secrets
from optagent.domain.audit import AuditEntry
from optagent.domain.token import Scope
from optagent.errors import Malformed, OptAgentError, UnsupportedFormat
from optagent.ports import Clock
from serve_app.api.auth import Authenticator
from serve_app.api.errors import MEDIA_TYPE, UNEXPECTED, request_id_of
from serve_app.api.idempotency import HEADER, PARAMETER, Idempotency

T = TypeVar("T")

_SCOPE, _SHOWN_ONCE = "x-scope", "x-shown-once"
_DESCRIPTIONS = {
    400: "the body is not JSON",
    401: "no token, or one that does not hold",
    403: "the token's scopes do not cover this",
    404: "not found",
    409: "contradicts what is already there, or the same request is under way",
    412: "`If-Match` names another revision than the present one",
    413: "the body is too large",
    415: "the body is of another content type",
    422: "a field breaks a rule; the problem names both",
    429: "too many requests of this token, or too much work waits",
    500: "something unexpected",
    503: "a part that is needed does not answer; the problem names it",
}

_log = logging.getLogger("optagent.api")


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The objects that all routes work with."""

    agent: OptimizationAgent
    authenticator: Authenticator
    idempotency: Idempotency | None
    clock: Clock


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a route: the name of its token, and the agent that it calls."""

    agent: OptimizationAgent
    name: str
    request_id: str
    clock: Clock

    async def perform(self, action: str, target: str, work: Awaitable[T], **detail: Any) -> T:
        """The answer of `work`, after an entry in the audit log that it was done, or why it was not."""
        try:
            answer = await work
        except Exception as error:
            outcome = str(error) if isinstance(error, OptAgentError) else UNEXPECTED
            await self._write_audit(action, target, outcome, detail)
            raise
        await self._write_audit(action, target, "done", detail)
        return answer

    async def _write_audit(self, action: str, target: str, outcome: str, detail: dict[str, Any]) -> None:
        detail = without_secrets(detail)  # an entry that cannot be written goes to the log
        entry = AuditEntry(self.clock.now(), self.name, action, target, outcome, self.request_id, detail)
        try:
            await self.agent.record_audit(entry)
        except OptAgentError as error:  # the work is done: an error would make the caller do it twice
            _log.error("the audit log did not take %r: %s", entry, error)


async def _current_caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CurrentCaller = Annotated[Caller, Depends(_current_caller)]
"""The parameter of a route for its caller."""


def problem_responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of answers with these codes."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    return {code: {"description": _DESCRIPTIONS[code], "content": content} for code in sorted(codes)}


def needs(scope: Scope, *codes: int, sends: bool = False, shown_once: tuple[str, ...] = ()) -> dict[str, Any]:
    """The arguments of a guarded route: the scope that it needs, and the further codes that it may answer.

    A POST that changes something `sends`: it may have a body and an idempotency key. The route enforces its document.
    """
    extra: dict[str, Any] = {_SCOPE: str(scope), "security": [{"bearer": []}]}
    if sends:
        codes = (*codes, 400, 409, 413, 415)
    if shown_once:
        extra[_SHOWN_ONCE] = list(shown_once)
    return {"responses": problem_responses(*{*codes, 401, 403, 422, 429, 500, 503}), "openapi_extra": extra}


class GuardedRoute(APIRoute):
    """A route that checks the token and its scope before anything of the body is read."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra = options["openapi_extra"]  # a route without `needs` is a mistake
        if "POST" in options["methods"]:
            options["openapi_extra"] = {**extra, "parameters": [PARAMETER]}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        extra = self.openapi_extra or {}
        scope, shown_once = Scope(extra[_SCOPE]), tuple(extra.get(_SHOWN_ONCE, ()))

        async def handle_guarded(request: Request) -> Response:
            context: ApiContext = request.app.state.context
            request_id = request_id_of(request)
            token = await context.authenticator.principal(request.headers.get("authorization"), scope, request_id)
            request.state.caller = Caller(context.agent, token.name, request_id, context.clock)
            request = _JsonRequest(request.scope, request.receive)
            if self.body_field is not None:
                await request.read()
            if request.method != "POST" or HEADER not in request.headers or context.idempotency is None:
                return await handle(request)
            return await context.idempotency.run_once(request, token, lambda: handle(request), shown_once)

        return handle_guarded


class _JsonRequest(Request):
    """A request with strict JSON: FastAPI accepts NaN, and fails on deep nesting."""

    _parsed: Any = None

    async def read(self) -> None:
        """Raises UnsupportedFormat and Malformed."""
        body = await self.body()
        if not body:
            return
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise UnsupportedFormat(f"the content type {kind!r} is not read here: send application/json")
        try:
            self._parsed = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise Malformed(f"the body is not JSON: {error}") from None

    async def json(self) -> Any:
        return self._parsed
