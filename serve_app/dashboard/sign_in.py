"""Sign-in page: signing in with a token, and out."""

from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from optagent.domain.token import Scope
from optagent.errors import NotAuthenticated, NotPermitted
from serve_app.api.errors import request_id_of
from serve_app.api.security import ApiContext
from serve_app.dashboard.form import check_same_site, read_form
from serve_app.dashboard.page import PageRoute, redirect_to, render_page
from serve_app.dashboard.session import PREFIX, end_session, start_session

router = APIRouter(prefix=PREFIX, route_class=PageRoute)


@router.get("/sign-in")
async def sign_in_page(request: Request, back: str = PREFIX) -> Response:
    return await render_page(request, "sign_in.html", back=_path_inside(back), refused=None)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Starts a session of a token that may read; shows the reason where one may not."""
    check_same_site(request)
    form = await read_form(request)
    back = _path_inside(form.get("back", PREFIX))
    text = form.get("token", "")
    context: ApiContext = request.app.state.context
    authorization, request_id = f"Bearer {text}" if text else None, request_id_of(request)
    try:
        token = await context.authenticator.principal(authorization, Scope.READ, request_id)
    except (NotAuthenticated, NotPermitted) as error:
        reason = str(error) if text else "a token is needed: `optagent token create NAME --scope read` makes one"
        return await render_page(request, "sign_in.html", code=401, back=back, refused=reason)
    response = RedirectResponse(back, 303)
    await start_session(request, response, token)
    return response


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    check_same_site(request)
    response = redirect_to("/sign-in")
    await end_session(request, response)
    return response


def _path_inside(path: str) -> str:
    """The path if it is one of the dashboard, else its root: a link must not lead elsewhere after signing in."""
    parts = urlsplit(path)
    inside = path == PREFIX or path.startswith(f"{PREFIX}/")
    return path if inside and not parts.scheme and not parts.netloc and "\\" not in path else PREFIX
