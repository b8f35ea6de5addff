"""Body of a request as it comes in: bounded in bytes and in time, whether its handler reads it or not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.types import Message, Receive

from optagent.errors import Malformed, TooLarge, TooSlow

# The whole body has to come within so long, at whatever pace: who sends a byte a second would hold a place for ever.
LONGEST_S = 10.0
_SLOWEST_BYTES_A_SECOND = 1e6  # so a larger OPT_AGENT_MAX_BODY_MB comes with more time

Handler = Callable[[Receive], Awaitable[None]]


class IncomingBody:
    """The `receive` of one request. Raises TooLarge, TooSlow, and Malformed where the client hangs up in between.

    `length` is the declared one, None for a body in chunks.
    """

    def __init__(self, receive: Receive, max_bytes: int, length: int | None, longest_s: float | None = None) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._length = length
        self._remaining = max_bytes
        self._longest_s = max(LONGEST_S, max_bytes / _SLOWEST_BYTES_A_SECOND) if longest_s is None else longest_s
        self._give_up = time.monotonic() + self._longest_s
        self.ended = False

    async def handle(self, handler: Handler) -> None:
        """Calls the handler with a bounded `receive`."""
        if self._length is not None:
            if self._length > self._max_bytes:
                raise self._too_large()
            await handler(self.receive)  # what the handler does not read can be no more than the declared length
        else:
            await self._handle_chunks(handler)

    async def receive(self) -> Message:
        """The next message of the body; after its end, the next one of the connection."""
        if self.ended:
            return await self._receive()
        try:
            async with asyncio.timeout(self._give_up - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow(f"the body was not here after {self._longest_s:g} s, the most that one may take") from None
        if message["type"] == "http.disconnect":
            self.ended = True
            raise Malformed("the connection ended before the body did")
        self._remaining -= len(message.get("body", b""))
        if self._remaining < 0:
            raise self._too_large()
        self.ended = not message.get("more_body", False)
        return message

    async def _handle_chunks(self, handler: Handler) -> None:
        """Takes the chunks as they come: Ray Serve queues without bound those that nobody has taken."""
        chunks: asyncio.Queue[Message] = asyncio.Queue()

        async def receive_chunk() -> Message:
            return await (self._receive() if self.ended and chunks.empty() else chunks.get())

        reading = asyncio.ensure_future(self._read_all(chunks))
        handling = asyncio.ensure_future(handler(receive_chunk))
        try:
            await asyncio.wait({reading, handling}, return_when=asyncio.FIRST_COMPLETED)
            if not handling.done():
                reading.result()  # raises where the body breaks a rule: the handler need not go on
            await handling
        finally:
            for task in (reading, handling):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _read_all(self, chunks: "asyncio.Queue[Message]") -> None:
        while not self.ended:
            chunks.put_nowait(await self.receive())

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._max_bytes:,} bytes, the most that this request may have")
