"""Fixed content: bytes that are the same for all, made once, and not sent again to who has them (RFC 9110, 304)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import Request, Response


@dataclass(frozen=True, slots=True)
class FixedContent:
    """Bytes with their media type, and a digest that names them."""

    body: bytes
    media_type: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.body).hexdigest()[:16])

    def response(self, request: Request, headers: Mapping[str, str]) -> Response:
        """The content, or 304 where the request names its digest."""
        tag = f'"{self.digest}"'
        all_headers = {**headers, "ETag": tag}
        if tag in request.headers.get("if-none-match", ""):
            return Response(None, 304, all_headers)
        return Response(self.body, 200, all_headers, self.media_type)
