"""Signing in and out."""

from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from optagent.domain.token import Scope
from optagent.errors import NotAuthenticated, NotPermitted
from serve_app.dashboard.form import check_same_site, form_of
from serve_app.dashboard.page import Page, page, to
from serve_app.dashboard.session import COOKIE, PREFIX, keep_token, viewer_of

router = APIRouter(prefix=PREFIX, route_class=Page)


@router.get("/sign-in")
async def ask(request: Request, back: str = PREFIX) -> Response:
    return await page(request, "sign_in.html", back=_ours(back), refused=None)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Keeps a token that may read; says why one may not."""
    check_same_site(request)
    form = await form_of(request)
    back = _ours(form.get("back", PREFIX))
    text = form.get("token", "")
    try:
        await viewer_of(request, Scope.READ, text)
    except (NotAuthenticated, NotPermitted) as error:
        said = str(error) if text else "a token is needed: `optagent token create NAME --scope read` makes one"
        return await page(request, "sign_in.html", code=401, back=back, refused=said)
    response = RedirectResponse(back, 303)
    keep_token(response, text, request)
    return response


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    check_same_site(request)
    response = to("/sign-in")
    response.delete_cookie(COOKIE, path=PREFIX)
    return response


def _ours(path: str) -> str:
    """The path, where it is one of the dashboard's: a link must not lead elsewhere after signing in."""
    parts = urlsplit(path)
    inside = path == PREFIX or path.startswith(f"{PREFIX}/")
    return path if inside and not parts.scheme and not parts.netloc and "\\" not in path else PREFIX
