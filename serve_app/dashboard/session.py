"""Sessions of the dashboard: the token in the browser's cookie, and the scopes that it has."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from optagent.domain.actor import Door
from optagent.domain.token import Scope, Token
from serve_app.api.errors import request_id_of
from serve_app.api.limited_agent import limit_agent
from serve_app.api.security import ApiContext, Caller, actor_of
from serve_app.dashboard.form import check_same_site

PREFIX = "/dashboard"
COOKIE = "optagent_token"


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


async def find_viewer(request: Request, scope: Scope, text: str | None = None) -> Viewer:
    """The viewer with the token of the cookie, or with `text`; raises the errors of `Authenticator.principal`."""
    context: ApiContext = request.app.state.context
    text = request.cookies.get(COOKIE, "") if text is None else text
    request_id, model_id = request_id_of(request), request.path_params.get("model_id", "")
    authorization = f"Bearer {text}" if text else None
    token: Token = await context.authenticator.principal(authorization, scope, request_id, model_id)
    return Viewer.of(limit_agent(context.agent, token), actor_of(token, Door.DASHBOARD, request), token)


def set_token_cookie(response: Response, text: str, request: Request) -> None:
    """Puts the token into a cookie that no script or other site can read, until the browser is closed."""
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    response.set_cookie(COOKIE, text, path=PREFIX, httponly=True, samesite="strict", secure=secure)


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
