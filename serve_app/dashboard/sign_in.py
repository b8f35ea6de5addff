"""Sign-in page: signing in with a token, and out."""

from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from optagent.domain.token import Scope
from optagent.errors import NotAuthenticated, NotPermitted
from serve_app.dashboard.form import check_same_site, read_form
from serve_app.dashboard.page import PageRoute, redirect_to, render_page
from serve_app.dashboard.session import COOKIE, PREFIX, find_viewer, set_token_cookie

router = APIRouter(prefix=PREFIX, route_class=PageRoute)


@router.get("/sign-in")
async def sign_in_page(request: Request, back: str = PREFIX) -> Response:
    return await render_page(request, "sign_in.html", back=_path_inside(back), refused=None)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Stores a token that may read in the cookie; shows the reason where one may not."""
    check_same_site(request)
    form = await read_form(request)
    back = _path_inside(form.get("back", PREFIX))
    text = form.get("token", "")
    try:
        await find_viewer(request, Scope.READ, text)
    except (NotAuthenticated, NotPermitted) as error:
        reason = str(error) if text else "a token is needed: `optagent token create NAME --scope read` makes one"
        return await render_page(request, "sign_in.html", code=401, back=back, refused=reason)
    response = RedirectResponse(back, 303)
    set_token_cookie(response, text, request)
    return response


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    check_same_site(request)
    response = redirect_to("/sign-in")
    response.delete_cookie(COOKIE, path=PREFIX)
    return response


def _path_inside(path: str) -> str:
    """The path if it is one of the dashboard, else its root: a link must not lead elsewhere after signing in."""
    parts = urlsplit(path)
    inside = path == PREFIX or path.startswith(f"{PREFIX}/")
    return path if inside and not parts.scheme and not parts.netloc and "\\" not in path else PREFIX
