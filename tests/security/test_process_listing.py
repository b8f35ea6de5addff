"""A listing of processes reads a bounded number of them, whatever status it asks for."""

from collections.abc import Callable
from typing import Any

import pytest

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.domain.process import Process, Status


@pytest.mark.parametrize("query", ["status=cancelled", "status=cancelled&limit=1000", "limit=1000"])
async def test_a_listing_reads_some_thousand_processes_at_most(
    agent: OptimizationAgent, store: InMemoryStore, call: Any, process: Callable[..., Process], query: str
) -> None:
    for number in range(3000):
        await store.create_process(process(number, Status.FAILED, result={"size": "large"}), 60.0)
    counts: list[int] = []
    read = agent.processes

    async def processes(model_id: str | None = None, limit: int = 100) -> list[Process]:
        newest = await read(model_id, limit)
        counts.append(len(newest))
        return newest

    agent.processes = processes  # type: ignore[method-assign]
    answer = await call("read", "GET", f"/optimization/processes?{query}")
    assert answer.status_code == 200
    assert 0 < sum(counts) <= 2000
