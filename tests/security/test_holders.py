"""The name by which a runner proves that it holds a process is told to nobody."""

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.domain.command import TuneModel


async def test_no_verb_tells_the_holder_of_a_process(
    agent: OptimizationAgent, store: InMemoryStore, churn_id: str
) -> None:
    process_id = (await agent.submit(TuneModel(churn_id, trials=1))).process_id
    held = await store.claim_process(process_id, 60.0)
    assert held.holder
    head = await agent.queue_head()
    shown = [await agent.process(process_id), *await agent.processes(), *await agent.unended_processes(), *head.running]
    assert [process.process_id for process in shown] == [process_id] * 4
    assert {process.holder for process in shown} == {""}
