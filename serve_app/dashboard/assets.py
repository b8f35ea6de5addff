"""Static files of the dashboard over HTTP."""

from fastapi import APIRouter, Request, Response

from serve_app.dashboard.asset_files import read_asset
from serve_app.dashboard.page import PageRoute
from serve_app.dashboard.session import PREFIX

router = APIRouter(prefix=f"{PREFIX}/static", route_class=PageRoute)

_FOR_GOOD = "public, max-age=31536000, immutable"
_FOR_MINUTES = "max-age=600"


@router.get("/{name}")
async def asset(request: Request, name: str, v: str = "") -> Response:
    """One of the static files; open to all, since they contain no data."""
    content = read_asset(name)
    cached = _FOR_GOOD if v == content.digest else _FOR_MINUTES
    return content.response(request, {"Cache-Control": cached, "X-Content-Type-Options": "nosniff"})
