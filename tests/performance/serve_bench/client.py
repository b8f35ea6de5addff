"""A load generator that keeps every answer: HTTP/1.1 over sockets that stay open, in a process of its own.

With a rate, requests are sent at their times whatever became of the earlier ones (open loop); without, each connection
asks again as soon as it is answered. Only 127.0.0.1 is ever connected to. Run by `load.py`, with the order as JSON.
"""

import asyncio
import collections
import json
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import uvloop

TIMED_OUT, LOST = -1, 0
"""Instead of a status: no answer within the limit; the connection was refused, or broke before the answer."""

_RETRY_S = 0.02
_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_VERSION = re.compile(rb'"version":\s*"?([^",}]+)')


@dataclass(frozen=True, slots=True)
class Order:
    """What is sent, where to, how fast and for how long. `request` is bytes as they go over the wire.

    `value` is a pattern for the number that an answer is known by.
    """

    port: int
    request: bytes
    seconds: float
    rate: float
    connections: int
    timeout_s: float
    value: re.Pattern[bytes]

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Order":
        value = re.compile(told.pop("value").encode())
        return cls(request=told.pop("request").encode(), value=value, **told)


class Answers:
    """Since when each request waited, when it was sent and answered, and with what; times are POSIX.

    `late_s` is by how much this process itself was ever behind its rate, which is not counted against the server.
    """

    def __init__(self) -> None:
        self.late_s = 0.0
        self.rows: list[tuple[float, float, float, int, int, float]] = []
        self.versions: dict[str, int] = {}

    def add(self, due: float, sent: float, status: int, body: bytes, value: re.Pattern[bytes]) -> None:
        done = time.time()
        version = _VERSION.search(body)
        found = value.search(body)
        code = self.versions.setdefault(version[1].decode(), len(self.versions)) if version else -1
        self.rows.append((due, sent, done, status, code, float(found[1]) if found else np.nan))

    def save(self, path: Path) -> None:
        table = np.array(self.rows, dtype=np.float64).reshape(-1, 6)
        np.savez(path, rows=table, versions=np.array(list(self.versions), dtype=str), late_s=self.late_s)


class Generator:
    """Hands requests to connections that are free; one that finds none free waits, which counts as its time."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.answers = Answers()
        self.waiting: collections.deque[float] = collections.deque()
        self.free: list[Connection] = []
        self.open: set[Connection] = set()
        self.connecting: set[asyncio.Task[None]] = set()
        self.ended = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ended.set)
        sweeper = asyncio.create_task(self._sweep())
        sender = asyncio.create_task(self._at_a_rate() if self.order.rate else self._as_answered())
        try:
            await asyncio.wait_for(self.ended.wait(), self.order.seconds)
        except TimeoutError:
            self.ended.set()
        sender.cancel()
        await self._drained()
        sweeper.cancel()
        for connection in list(self.open):
            connection.transport.abort()

    async def _at_a_rate(self) -> None:
        began, sent = time.time(), 0
        while True:
            due = began + sent / self.order.rate
            pause = due - time.time()
            if pause > 0:
                await asyncio.sleep(pause)
            self.answers.late_s = max(self.answers.late_s, time.time() - due)
            self.ask()
            sent += 1

    async def _as_answered(self) -> None:
        for _ in range(self.order.connections):
            self.ask()

    def ask(self) -> None:
        """Sends a request by a free connection, or leaves it waiting for one."""
        now = time.time()
        while self.free:
            connection = self.free.pop()
            if not connection.transport.is_closing():
                return connection.send(now)
        self.waiting.append(now)
        self._connect()

    def _connect(self) -> None:
        if len(self.open) + len(self.connecting) < self.order.connections:
            task = asyncio.get_running_loop().create_task(self._connected())
            self.connecting.add(task)
            task.add_done_callback(self.connecting.discard)

    async def _connected(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.order.port)
        except OSError:
            if self.waiting:
                due = self.waiting.popleft()
                self.finish(due, due, LOST)

    def finish(self, due: float, sent: float, status: int, body: bytes = b"") -> None:
        """Notes an answer, or that there was none; without a rate, the next request follows."""
        self.answers.add(due, sent, status, body, self.order.value)
        if not self.order.rate and not self.ended.is_set():
            loop = asyncio.get_running_loop()
            loop.call_later(_RETRY_S if status <= 0 else 0, self.ask)

    def freed(self, connection: "Connection") -> None:
        if self.waiting:
            connection.send(self.waiting.popleft())
        else:
            self.free.append(connection)

    async def _sweep(self) -> None:
        """Ends what takes too long: in a connection, or waiting for one."""
        while True:
            await asyncio.sleep(0.1)
            late = time.time() - self.order.timeout_s
            while self.waiting and self.waiting[0] < late:
                self.finish(self.waiting.popleft(), time.time(), TIMED_OUT)
            for connection in [one for one in self.open if one.busy and one.sent < late]:
                connection.give_up()

    async def _drained(self) -> None:
        """Waits for what is under way, so that no answer is missed at the end."""
        until = time.time() + self.order.timeout_s + 1
        while (self.waiting or any(one.busy for one in self.open)) and time.time() < until:
            await asyncio.sleep(0.02)


class Connection(asyncio.Protocol):
    """One socket with one request at a time."""

    transport: asyncio.Transport

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._request = generator.order.request
        self._got = bytearray()
        self.busy = False
        self.due = self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._generator.open.add(self)
        self._generator.freed(self)

    def send(self, due: float) -> None:
        self.busy, self.due, self.sent = True, due, time.time()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(_HEAD_END)
        if end < 0:
            return
        length = _LENGTH.search(self._got, 0, end)
        size = int(length[1]) if length else 0
        start = end + len(_HEAD_END)
        if len(self._got) < start + size or not self.busy:
            return
        status, body = int(self._got[9:12]), bytes(self._got[start : start + size])
        self._got.clear()
        self._ended(status, body)
        self._generator.freed(self)

    def give_up(self) -> None:
        self._ended(TIMED_OUT)
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        generator = self._generator
        generator.open.discard(self)
        if self in generator.free:
            generator.free.remove(self)
        if self.busy:
            self._ended(LOST)

    def _ended(self, status: int, body: bytes = b"") -> None:
        self.busy = False
        self._generator.finish(self.due, self.sent, status, body)


async def _run(order: Order, out: Path) -> None:
    generator = Generator(order)
    await generator.run()
    generator.answers.save(out)


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(Order.of(told), Path(sys.argv[2])))
