"""Redis memory: the refusal of a write by a server that holds as much as its `maxmemory` allows."""

from collections.abc import Mapping
from typing import Any

from optagent.errors import Unavailable

LOOK_S = 1.0
"""Seconds that a look at the server's limit may take, for the text of the error only."""


def memory_error(address: str, memory: Mapping[str, Any]) -> Unavailable:
    """The error of a write that was refused; `memory` is the server's INFO of that section, or empty."""
    limit = memory.get("maxmemory")
    size = f" of {limit / 1e6:,.0f} MB" if isinstance(limit, int) and limit else ""
    return Unavailable(
        f"Redis at {address} is full: it holds more than its maxmemory{size} and nothing was written; raise "
        "OPT_AGENT_REDIS_MAX_MEMORY_MB (the embedded server, once it is started again) or maxmemory (a server of your "
        "own), or keep less (optagent prune)"
    )
