"""Forms of a browser: their fields, and a check that they come from the dashboard itself."""

from urllib.parse import parse_qs, urlsplit

from fastapi import Request

from optagent.errors import NotPermitted

LONGEST_FORM = 10_000
"""Bytes of a form; `asgi.Application` refuses a longer one while it comes."""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; the last value of a field that stands twice."""
    body = await request.body()
    return {name: values[-1].strip() for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def check_same_site(request: Request) -> None:
    """Raises NotPermitted for a form that another site sent, by the headers that browsers set."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site:
        is_same_site = site in ("same-origin", "none")
    else:
        is_same_site = not origin or urlsplit(origin).netloc == request.url.netloc
    if not is_same_site:
        raise NotPermitted(f"this was sent by a page of {origin or 'another site'}, not by the dashboard")
