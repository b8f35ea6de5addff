"""Sessions of the dashboard: the id in the browser's cookie, and the token that the session belongs to.

The token itself is not in the cookie: browsers send that to any server on the same host, whatever its port, and store
it. A session ends by itself, with its token, and everywhere where the browser signs out.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from fastapi import Depends, Request, Response

from optagent.domain.actor import Door
from optagent.domain.session import IDLE_S, new_session
from optagent.domain.token import Scope, Token, digest_of
from optagent.errors import NotAuthenticated, Unavailable
from serve_app.api.errors import request_id_of
from serve_app.api.limited_agent import limit_agent
from serve_app.api.security import ApiContext, Caller, actor_of
from serve_app.dashboard.form import check_same_site

PREFIX = "/dashboard"

_NAME = "optagent_session"
_TOKEN_COOKIE = "optagent_token"  # noqa: S105 - of older programs, with the token itself: it is forgotten
_ID = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Viewer(Caller):
    """The caller of a page, with the token that decides what the page offers."""

    token: Token

    @property
    def may_operate(self) -> bool:
        return self.token.allows(Scope.OPERATE)

    @property
    def may_audit(self) -> bool:
        return self.token.allows(Scope.ADMIN)


async def find_viewer(request: Request, scope: Scope) -> Viewer:
    """The viewer whose session the browser's cookie names, if the token of that session may do this.

    Raises NotAuthenticated for a browser without a session, and the errors of `Authenticator.principal`.
    """
    context: ApiContext = request.app.state.context
    session_id, session = _session_id(request), None
    if session_id and context.sessions is not None:
        session = await context.sessions.use(digest_of(session_id), IDLE_S)
    if session is None or session.ends_at <= context.clock.now():
        raise NotAuthenticated("this browser is not signed in, or its session has ended")
    request_id, model_id = request_id_of(request), request.path_params.get("model_id", "")
    token: Token = await context.authenticator.session_principal(session.token_id, scope, request_id, model_id)
    return Viewer.of(limit_agent(context.agent, token), actor_of(token, Door.DASHBOARD, request), token)


async def start_session(request: Request, response: Response, token: Token) -> None:
    """Starts a session of that token, in place of one that the browser had, and puts its id into the cookie."""
    context: ApiContext = request.app.state.context
    if context.sessions is None:
        raise Unavailable("this process keeps no sessions: nobody can sign in here")
    await _end_stored(request, context)
    session_id, session = new_session(token, context.clock.now())
    await context.sessions.create(session, IDLE_S)
    cookie = _cookie(request)
    response.set_cookie(
        cookie.name, session_id, path=cookie.path, secure=cookie.secure, httponly=True, samesite="strict"
    )
    _forget_token(request, response)


async def end_session(request: Request, response: Response) -> None:
    """Ends the browser's session on all gateways, and forgets its cookie."""
    await _end_stored(request, request.app.state.context)
    cookie = _cookie(request)
    response.delete_cookie(cookie.name, path=cookie.path, secure=cookie.secure, httponly=True, samesite="strict")
    _forget_token(request, response)


async def _end_stored(request: Request, context: ApiContext) -> None:
    session_id = _session_id(request)
    if session_id and context.sessions is not None:
        await context.sessions.end(digest_of(session_id))


def _forget_token(request: Request, response: Response) -> None:
    if _TOKEN_COOKIE in request.cookies:
        response.delete_cookie(_TOKEN_COOKIE, path=PREFIX)


class _Cookie(NamedTuple):
    """The name and the attributes of the cookie."""

    name: str
    path: str
    secure: bool


def _cookie(request: Request) -> _Cookie:
    """Over TLS browsers take a cookie of the `__Host-` kind from this very host only, and only for all of its paths."""
    if "https" in (request.url.scheme, request.headers.get("x-forwarded-proto")):
        return _Cookie(f"__Host-{_NAME}", "/", True)
    return _Cookie(_NAME, PREFIX, False)


def _session_id(request: Request) -> str:
    """The id in the browser's cookie, "" where there is none or what there is cannot be one."""
    session_id = request.cookies.get(_cookie(request).name, "")
    return session_id if _ID.fullmatch(session_id) else ""


def _require_scope(scope: Scope, changes: bool = False) -> Callable[[Request], Awaitable[Viewer]]:
    async def require_viewer(request: Request) -> Viewer:
        if changes:
            check_same_site(request)
        current_viewer = request.state.viewer = await find_viewer(request, scope)
        return current_viewer

    return require_viewer


Reader = Annotated[Viewer, Depends(_require_scope(Scope.READ))]
Operator = Annotated[Viewer, Depends(_require_scope(Scope.OPERATE, changes=True))]
Auditor = Annotated[Viewer, Depends(_require_scope(Scope.ADMIN))]
