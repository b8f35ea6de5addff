"""Guards of the routes: the token of the caller, its scope, the JSON body, and the idempotency key."""

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self, cast

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from optagent.agent import OptimizationAgent
from optagent.agent.acts import ActingAgent
from optagent.domain.actor import Actor, Door
from optagent.domain.token import Scope, Token
from optagent.errors import Malformed, UnsupportedFormat
from optagent.ports import Clock, Sessions
from serve_app.api.auth import Authenticator
from serve_app.api.errors import MEDIA_TYPE, request_id_of
from serve_app.api.idempotency import HEADER, PARAMETER, Idempotency
from serve_app.api.limited_agent import limit_agent

_SCOPE, _SHOWN_ONCE = "x-scope", "x-shown-once"
_DESCRIPTIONS = {
    400: "the body is not JSON",
    401: "no token, or one that does not hold",
    403: "the token's scopes or models do not cover this",
    404: "not found",
    408: "the body did not come within its time",
    409: "contradicts what is already there, or the same request is under way",
    412: "`If-Match` names another revision than the present one",
    413: "the body is too large",
    415: "the body is of another content type",
    422: "a field breaks a rule; the problem names both",
    429: "too many requests of this token, or too much work waits",
    500: "something unexpected",
    503: "a part that is needed does not answer; the problem names it",
}


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The objects that all routes work with."""

    agent: OptimizationAgent
    authenticator: Authenticator
    idempotency: Idempotency | None
    clock: Clock
    sessions: Sessions | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a route, with an agent whose verbs act in the name of the caller's token."""

    agent: OptimizationAgent
    actor: Actor

    @classmethod
    def of(cls, agent: OptimizationAgent, actor: Actor, *more: Any) -> Self:
        """The caller that acts as `actor`; `more` are the further fields of a subclass."""
        return cls(cast(OptimizationAgent, ActingAgent(agent, actor)), actor, *more)

    def part(self, number: int) -> "Caller":
        """The caller of one part of a request that makes several things of one kind."""
        return Caller.of(self.agent, self.actor.part(number))

    @property
    def name(self) -> str:
        return self.actor.name

    @property
    def request_id(self) -> str:
        return self.actor.request_id


def actor_of(token: Token, door: Door, request: Request) -> Actor:
    return Actor(token.name, door, token.token_id, request_id_of(request))


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
        codes = (*codes, 400, 408, 409, 413, 415)
    if shown_once:
        extra[_SHOWN_ONCE] = list(shown_once)
    return {"responses": problem_responses(*{*codes, 401, 403, 422, 429, 500, 503}), "openapi_extra": extra}


class GuardedRoute(APIRoute):
    """A route that checks the token and its scope before anything of the body is read."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra = options["openapi_extra"]  # a route without `needs` is a mistake
        if _takes_keys(options["methods"], Scope(extra[_SCOPE])):
            options["openapi_extra"] = {**extra, "parameters": [PARAMETER]}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        extra = self.openapi_extra or {}
        scope, shown_once = Scope(extra[_SCOPE]), tuple(extra.get(_SHOWN_ONCE, ()))

        async def handle_guarded(request: Request) -> Response:
            context: ApiContext = request.app.state.context
            request_id = request_id_of(request)
            authorization, model_id = request.headers.get("authorization"), request.path_params.get("model_id", "")
            token = await context.authenticator.principal(authorization, scope, request_id, model_id)
            actor = actor_of(token, Door.HTTP, request)
            request.state.token = token
            request.state.caller = Caller.of(limit_agent(context.agent, token), actor)
            request = _JsonRequest(request.scope, request.receive)
            if self.body_field is not None:
                await request.read()
            has_key = HEADER in request.headers and _takes_keys({request.method}, scope)
            if not has_key or context.idempotency is None:
                return await handle(request)

            async def answer(act_id: str) -> Response:
                request.state.caller = Caller.of(context.agent, replace(actor, act_id=act_id))
                return await handle(request)

            return await context.idempotency.run_once(request, token, answer, shown_once)

        return handle_guarded


def _takes_keys(methods: Collection[str], scope: Scope) -> bool:
    """True where a request may have an idempotency key: who may only read changes nothing, however often."""
    return "POST" in methods and scope is not Scope.READ


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
