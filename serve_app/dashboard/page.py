"""Dashboard pages: HTML from templates, and problems as pages."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from optagent.codec import without_secrets
from optagent.domain.instant import time_text
from optagent.errors import NotAuthenticated
from optagent.templating import load_templates
from serve_app.api.errors import problem, problem_response, request_id_of
from serve_app.dashboard.asset_files import asset_url
from serve_app.dashboard.session import PREFIX
from serve_app.dashboard.sparkline import sparkline

_HEADERS = {
    # Plotly styles its drawings inline; no script but ours runs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class PageRoute(APIRoute):
    """A route whose errors are pages too; a browser that is not signed in is sent to sign in, and then comes back."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **{**options, "include_in_schema": False, "response_model": None})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_as_page(request: Request) -> Response:
            try:
                return await handle(request)
            except NotAuthenticated:
                back = request.url.path if request.method == "GET" else PREFIX
                return RedirectResponse(f"{PREFIX}/sign-in?back={quote(back)}", 303)
            except Exception as error:
                return await _problem_page(request, error)

        return handle_as_page


async def render_page(
    request: Request, template: str, *, code: int = 200, follows: str = "", **values: Any
) -> Response:
    """The page of a template, rendered beside the event loop. It fetches itself anew when what it `follows` changes."""
    viewer = getattr(request.state, "viewer", None)
    variables = {"viewer": viewer, "follows": follows, "here": request.url.path, **without_secrets(values)}
    text = await asyncio.to_thread(_TEMPLATES.get_template(template).render, variables)
    return HTMLResponse(text, code, _HEADERS)


def plots_response(text: str) -> Response:
    """A page of plots with scripts of its own, which is sandboxed from the dashboard's cookie and forms."""
    return HTMLResponse(text, headers={**_HEADERS, "Content-Security-Policy": "sandbox allow-scripts"})


def redirect_to(path: str) -> Response:
    """The redirect after a form, to a path of the dashboard."""
    return RedirectResponse(f"{PREFIX}{path}", 303)


async def _problem_page(request: Request, error: Exception) -> Response:
    response = problem_response(error, request_id_of(request))
    document = problem(error, request_id_of(request))[1]
    page = await render_page(request, "problem.html", code=response.status_code, problem=document)
    page.headers.update({name: value for name, value in response.headers.items() if name == "retry-after"})
    return page


def _format_time(value: float | None) -> str:
    """POSIX seconds as a time of UTC."""
    return "–" if value is None else time_text(value)


def _format_duration(value: float | None) -> str:
    if value is None:
        return "–"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= 2 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s"


def _format_number(value: Any, digits: int = 5) -> str:
    """A number to so many digits; any other value as text."""
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def _format_interval(value: Any) -> str:
    """An interval of the domain or of JSON, as its estimate and its limits."""
    if value is None:
        return "–"
    read_field = value.get if isinstance(value, Mapping) else lambda name: getattr(value, name)
    estimate, low, high = (_format_number(read_field(name)) for name in ("estimate", "low", "high"))
    return f"{estimate} ({low} to {high})"


def _format_json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)


_TEMPLATES = load_templates(Path(__file__).parent / "templates")
_TEMPLATES.globals["asset_url"] = asset_url
_TEMPLATES.filters |= {
    "time": _format_time,
    "seconds": _format_duration,
    "number": _format_number,
    "interval": _format_interval,
    "pretty": _format_json,
    "part": lambda value: quote(str(value), safe=""),
    "chart": json.dumps,
    "spark": sparkline,
}
