"""Pages from templates, and problems as pages."""

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

from optagent.domain.instant import time_text
from optagent.errors import NotAuthenticated
from serve_app.api.errors import problem, problem_response, request_id_of
from serve_app.dashboard.session import PREFIX
from serve_app.templating import templates_of

_HEADERS = {
    # Plotly styles its drawings inline; no script but ours runs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Page(APIRoute):
    """A route that answers what goes wrong with a page too; who is not signed in is asked to, and comes back."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        super().__init__(path, endpoint, **{**more, "include_in_schema": False, "response_model": None})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await handle(request)
            except NotAuthenticated:
                back = request.url.path if request.method == "GET" else PREFIX
                return RedirectResponse(f"{PREFIX}/sign-in?back={quote(back)}", 303)
            except Exception as error:
                return await _problem(request, error)

        return shown


async def page(request: Request, template: str, *, code: int = 200, live_s: float = 0, **values: Any) -> Response:
    """The template, filled in beside the event loop; the page asks for itself again every `live_s`, where above 0."""
    viewer = getattr(request.state, "viewer", None)
    shown = {"viewer": viewer, "live_s": live_s, "here": request.url.path, **values}
    text = await asyncio.to_thread(_TEMPLATES.get_template(template).render, shown)
    return HTMLResponse(text, code, _HEADERS)


def drawn(text: str) -> Response:
    """A whole page of plots with scripts of its own: it is shut off from the dashboard's cookie and forms."""
    return HTMLResponse(text, headers={**_HEADERS, "Content-Security-Policy": "sandbox allow-scripts"})


def to(path: str) -> Response:
    """Where a form leads."""
    return RedirectResponse(f"{PREFIX}{path}", 303)


async def _problem(request: Request, error: Exception) -> Response:
    answer = problem_response(error, request_id_of(request))
    said = problem(error, request_id_of(request))[1]
    shown = await page(request, "problem.html", code=answer.status_code, problem=said)
    shown.headers.update({name: value for name, value in answer.headers.items() if name == "retry-after"})
    return shown


def _time(value: float | None) -> str:
    """POSIX seconds as a moment of UTC."""
    return "–" if value is None else time_text(value)


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= 2 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s"


def _number(value: Any, digits: int = 5) -> str:
    """Numbers to so many digits; what is none as it stands."""
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def _interval(value: Any) -> str:
    """An interval of the domain, or one that was read from JSON."""
    if value is None:
        return "–"
    read = value.get if isinstance(value, Mapping) else lambda name: getattr(value, name)
    return f"{_number(read('estimate'))} ({_number(read('low'))} to {_number(read('high'))})"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)


_TEMPLATES = templates_of(Path(__file__).parent / "templates")
_TEMPLATES.filters |= {
    "time": _time,
    "seconds": _seconds,
    "number": _number,
    "interval": _interval,
    "pretty": _pretty,
    "part": lambda value: quote(str(value), safe=""),
    "chart": json.dumps,
}
