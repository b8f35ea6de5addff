"""ASGI calls by hand: requests whose bodies do not end, hang, or come in pieces, and the messages that answer them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Message

CHUNKED = (b"transfer-encoding", b"chunked")


class Connection:
    """One request. `chunks` come first; then the body hangs, or ends where `ends`."""

    def __init__(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]], ends: bool = True) -> None:
        path, _, query = path.partition("?")
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"host", b"optagent"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self.chunks: list[bytes] = []
        self.endless: bytes | None = None
        self.ends = ends
        self.taken = 0
        self.messages: list[Message] = []
        self.hung_up = asyncio.Event()
        self._ended = False

    async def receive(self) -> Message:
        if self.chunks:
            chunk = self.chunks.pop(0)
        elif self.endless is not None:
            await asyncio.sleep(0)
            chunk = self.endless
        elif self.ends and not self._ended:
            self._ended = True
            return {"type": "http.request", "body": b"", "more_body": False}
        else:
            await self.hung_up.wait()
            return {"type": "http.disconnect"}
        self.taken += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int | None:
        return self.messages[0]["status"] if self.messages else None

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    @property
    def document(self) -> Any:
        return json.loads(self.text)


async def answer(application: ASGIApp, connection: Connection, within_s: float = 30.0) -> Connection:
    """The connection once its request is answered."""
    async with asyncio.timeout(within_s):
        await application(connection.scope, connection.receive, connection.send)
    return connection


@asynccontextmanager
async def held(application: ASGIApp, connections: list[Connection]) -> AsyncIterator[None]:
    """Sends the requests, and hangs up at the end of the context."""
    tasks = [asyncio.create_task(application(one.scope, one.receive, one.send)) for one in connections]
    for _ in range(20):
        await asyncio.sleep(0)
    try:
        yield
    finally:
        for one in connections:
            one.hung_up.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
