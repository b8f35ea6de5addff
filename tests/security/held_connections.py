"""Held connections: a process of its own that opens many, asks for something, never finishes, and begins again."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_AGAIN_S = 5.0
_TRICKLE_S = 3.0
_TELL_S = 0.2


class HeldConnections:
    """The number of connections that are open, and the counts of answers by status code, 0 for a close without one."""

    def __init__(self) -> None:
        self.open = 0
        self.answers: Counter[int] = Counter()

    def update(self, line: str) -> None:
        state = json.loads(line)
        self.open = state["open"]
        self.answers = Counter({int(code): count for code, count in state["answers"].items()})


@contextmanager
def hold_connections(host: str, port: int, head: bytes, count: int, trickle: bytes = b"") -> Iterator[HeldConnections]:
    """Keeps `count` connections open that send `head`, and then `trickle` every three seconds.

    The process is nice: whoever does this to a server has a machine of their own.
    """
    request = json.dumps([host, port, head.decode(), count, trickle.decode()])
    command = [sys.executable, __file__, request]
    held = HeldConnections()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.nice(19)) as process:
        assert process.stdout is not None
        output = process.stdout

        def follow() -> None:
            for line in output:
                held.update(line)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield held
        finally:
            process.kill()
            follower.join(10)


async def _hold_all(host: str, port: int, head: str, count: int, trickle: str) -> None:
    state = HeldConnections()
    async with asyncio.TaskGroup() as group:
        group.create_task(_tell(state))
        for number in range(count):
            group.create_task(_hold(state, (host, port), head.encode(), trickle.encode(), 2 * number / count))


async def _tell(state: HeldConnections) -> None:
    while True:
        print(json.dumps({"open": state.open, "answers": state.answers}), flush=True)
        await asyncio.sleep(_TELL_S)


async def _hold(state: HeldConnections, address: tuple[str, int], head: bytes, trickle: bytes, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    while True:
        try:
            reader, writer = await asyncio.open_connection(*address)
        except OSError:
            await asyncio.sleep(_AGAIN_S)
            continue
        state.open += 1
        try:
            await _use(state, reader, writer, head, trickle)
        except OSError:
            state.answers[0] += 1
        finally:
            state.open -= 1
            writer.close()
        await asyncio.sleep(_AGAIN_S)


async def _use(
    state: HeldConnections, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, trickle: bytes
) -> None:
    writer.write(head)
    trickling = asyncio.ensure_future(_send_trickle(writer, trickle))
    try:
        line = await reader.readline()
        state.answers[int(line.split()[1]) if line else 0] += 1
        while await reader.read(65_536):
            pass
    finally:
        trickling.cancel()


async def _send_trickle(writer: asyncio.StreamWriter, trickle: bytes) -> None:
    while trickle:
        await asyncio.sleep(_TRICKLE_S)
        writer.write(trickle)


if __name__ == "__main__":
    asyncio.run(_hold_all(*json.loads(sys.argv[1])))
