"""What a browser sends: the fields of a form, and from where it comes."""

from urllib.parse import parse_qs, urlsplit

from fastapi import Request

from optagent.errors import NotPermitted, TooLarge

_LONGEST_FORM = 10_000


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, as browsers send one; the last of those that stand twice."""
    body = await request.body()
    if len(body) > _LONGEST_FORM:
        raise TooLarge(f"a form has at most {_LONGEST_FORM:,} bytes, got {len(body):,}")
    return {name: values[-1].strip() for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def check_same_site(request: Request) -> None:
    """Raises NotPermitted for a form that another site sent: a browser says from where it comes."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = site in ("same-origin", "none") if site else not origin or urlsplit(origin).netloc == request.url.netloc
    if not ours:
        raise NotPermitted(f"this was sent by a page of {origin or 'another site'}, not by the dashboard")
