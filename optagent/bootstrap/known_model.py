"""Known model: the refusal of a model that nobody has registered, before a command starts the cluster that it needs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from optagent.bootstrap import parts
from optagent.settings import Settings


@asynccontextmanager
async def require_known_model(model_id: str, settings: Settings) -> AsyncIterator[None]:
    """A context that ModelNotFound keeps shut; within it an embedded Redis stays up, for the agent that is made next.

    Raises Unavailable for a Redis that does not answer.
    """
    parts.make_home(settings)
    async with AsyncExitStack() as resources:
        store = parts.store(await asyncio.to_thread(parts.redis_url, settings, resources), settings)
        resources.push_async_callback(store.close)
        await store.check()
        await store.model(model_id)
        yield
