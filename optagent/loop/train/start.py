"""Early start: the cluster of a search comes up while its rows are read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from optagent.ports import Tuner


@asynccontextmanager
async def starting(tuner: Tuner | None) -> AsyncIterator[None]:
    """Starts or connects the cluster of `tuner`, if one is given, in a thread meanwhile.

    Its error is raised once the block has ended well.
    """
    if tuner is None:
        yield
        return
    start = asyncio.create_task(asyncio.to_thread(tuner.check))
    try:
        yield
    except BaseException:
        await asyncio.gather(start, return_exceptions=True)
        raise
    await start
