"""Early start: the cluster of a search comes up while its rows are read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from optagent.domain.model import ModelSpec
from optagent.loop.train.study import families_of
from optagent.ports import Tuner


@asynccontextmanager
async def starting(tuner: Tuner, spec: ModelSpec) -> AsyncIterator[None]:
    """Has `tuner` begin to start its cluster for the families of a model in a thread meanwhile.

    An error of that is raised once the block has ended well.
    """
    families = [family.name for family in families_of(spec)]
    start = asyncio.create_task(asyncio.to_thread(tuner.start, spec.task, families))
    try:
        yield
    except BaseException:
        await asyncio.gather(start, return_exceptions=True)
        raise
    await start
