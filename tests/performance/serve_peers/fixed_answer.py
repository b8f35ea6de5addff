"""The floor: an ASGI application that reads the body and answers the same bytes to all. Run by uvicorn."""

from typing import Any

ANSWER = b'{"predictions":[{"prediction":1,"probability":0.5}]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
