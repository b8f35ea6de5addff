"""Who looks at the dashboard: the token in the browser's cookie, and what it allows."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from optagent.domain.token import Scope, Token
from serve_app.api.errors import request_id_of
from serve_app.api.security import ApiContext, Caller
from serve_app.dashboard.form import check_same_site

PREFIX = "/dashboard"
COOKIE = "optagent_token"


@dataclass(frozen=True, slots=True)
class Viewer(Caller):
    """Who looks, the agent that is asked for him, and what he may do."""

    token: Token

    @property
    def may_operate(self) -> bool:
        return self.token.allows(Scope.OPERATE)

    @property
    def may_audit(self) -> bool:
        return self.token.allows(Scope.ADMIN)


async def viewer_of(request: Request, scope: Scope, text: str | None = None) -> Viewer:
    """Whoever the cookie's token (or `text`) is of; raises what `Authenticator.principal` does."""
    desk: ApiContext = request.app.state.desk
    text = request.cookies.get(COOKIE, "") if text is None else text
    request_id = request_id_of(request)
    token: Token = await desk.authenticator.principal(f"Bearer {text}" if text else None, scope, request_id)
    return Viewer(desk.agent, token.name, request_id, desk.clock, token)


def keep_token(response: Response, text: str, request: Request) -> None:
    """Puts the token where no script and no other site can reach it, for as long as the browser is open."""
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    response.set_cookie(COOKIE, text, path=PREFIX, httponly=True, samesite="strict", secure=secure)


def _needs(scope: Scope, changes: bool = False) -> Callable[[Request], Awaitable[Viewer]]:
    async def viewer(request: Request) -> Viewer:
        if changes:
            check_same_site(request)
        found = request.state.viewer = await viewer_of(request, scope)
        return found

    return viewer


Reader = Annotated[Viewer, Depends(_needs(Scope.READ))]
Operator = Annotated[Viewer, Depends(_needs(Scope.OPERATE, changes=True))]
Auditor = Annotated[Viewer, Depends(_needs(Scope.ADMIN))]
