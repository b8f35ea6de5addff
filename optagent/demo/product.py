"""Product of a demo: what serves is up as long as a context, and is taken down however that ends."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from optagent.bootstrap import Serving, ServingState
from optagent.demo.timeline import Timeline


@asynccontextmanager
async def bring_up_product(serving: Serving, timeline: Timeline) -> AsyncIterator[ServingState]:
    """The API, the gateways and the supervisor, on a Ray of this machine; a start under way is awaited and undone."""
    logging.getLogger("ray._private.worker").setLevel(logging.ERROR)  # it warns of every start in a thread
    start = asyncio.ensure_future(asyncio.to_thread(serving.up))
    try:
        yield await asyncio.shield(start)
    finally:
        timeline.say("stop", "taking everything down")
        await asyncio.wait([start])
        await asyncio.to_thread(serving.down)


@contextlib.contextmanager
def stop_when_terminated() -> Iterator[None]:
    """A context in which SIGTERM and SIGHUP end the present task as Ctrl-C does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    with contextlib.suppress(NotImplementedError):  # on Windows
        for number in numbers:
            loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)
