"""Product of a demo: what serves is up as long as a context, and is taken down however that ends."""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

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
        with _collect_no_garbage():
            await asyncio.to_thread(serving.down, partial(timeline.say, "stop"))


def cancel_when_terminated() -> None:
    """Lets SIGTERM and SIGHUP cancel the present task; to be called again after each connection to Ray, which takes
    them for itself."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):  # on Windows
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                loop.add_signal_handler(getattr(signal, name), task.cancel)


@contextlib.contextmanager
def _collect_no_garbage() -> Iterator[None]:
    """A context in which cycles wait: Ray ends the process where any thread frees a reference while it disconnects."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
