"""The queue loses nothing, however much is queued and however much has ended, and takes no more than its bound."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.domain.process import Process, Status
from optagent.errors import OptAgentError
from optagent.loop.queue import start_due
from tests.api.conftest import Call

BATCH = 100


class LaunchList:
    """A launcher that only collects ids."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def launch(self, process_id: str) -> None:
        self.ids.append(process_id)

    def close(self) -> None: ...


async def end_all(store: InMemoryStore, process_ids: list[str]) -> None:
    for process_id in process_ids:
        claimed = await store.claim_process(process_id, 60.0)
        await store.save_process(claimed.with_event(claimed.updated_at, "ended", Status.SUCCEEDED))


async def fill_with_ended(store: InMemoryStore, process: Callable[..., Process], count: int = 1200) -> None:
    for number in range(count):
        await store.create_process(process(1000 + number, Status.SUCCEEDED), 60.0)


async def queue_batch(call: Call, model_id: str) -> tuple[list[str], list[dict[str, object]]]:
    body = {"requests": [{"model_id": model_id, "max_trials": 1}] * BATCH}
    answer = await call("operate", "POST", "/optimization/batch", json=body)
    assert answer.status_code == 200, answer.text
    items = answer.json()["items"]
    queued = [item["submitted"]["process_id"] for item in items if item["submitted"]]
    return queued, [item["problem"] for item in items if item["problem"]]


async def test_twelve_hundred_that_were_queued_in_batches_all_end(
    store: InMemoryStore, clock: ManualClock, call: Call, churn_id: str
) -> None:
    launcher, queued, refused = LaunchList(), list[str](), 0
    while len(queued) < 1200:
        accepted, problems = await queue_batch(call, churn_id)
        queued += accepted
        refused += len(problems)
        if problems:
            await end_all(store, list(await start_due(store, launcher, 2 * BATCH, clock)))
    while started := await start_due(store, launcher, BATCH, clock):
        await end_all(store, list(started))
    statuses = [(await store.process(process_id)).status for process_id in queued]
    assert statuses == [Status.SUCCEEDED] * len(queued)
    assert sorted(launcher.ids) == sorted(queued)


async def test_a_queue_that_is_full_refuses_the_rest_of_a_batch_by_its_rule(
    store: InMemoryStore, call: Call, churn_id: str
) -> None:
    for number in range(950):
        await store.enqueue_process(Process(f"p-{number}", "tune", churn_id, Status.QUEUED, number, 0.0))
    queued, problems = await queue_batch(call, churn_id)
    assert (len(queued), len(problems)) == (50, 50)
    assert {(problem["status"], problem["type"]) for problem in problems} == {(429, "urn:optagent:busy")}
    assert "1000 processes wait already" in str(problems[0]["detail"])
    alone = await call("operate", "POST", "/optimization/hyperparameter", json={"model_id": churn_id})
    assert (alone.status_code, alone.json()["type"]) == (429, "urn:optagent:busy")


async def test_one_that_waits_behind_a_thousand_newer_ones_can_be_cancelled(
    store: InMemoryStore, clock: ManualClock, call: Call, process: Callable[..., Process]
) -> None:
    await store.enqueue_process(process(1, Status.QUEUED))
    await fill_with_ended(store, process)
    status = await call("read", "GET", "/optimization/status/tune-1")
    assert status.json()["queue_position"] == 1
    assert (await call("operate", "POST", "/optimization/processes/tune-1/cancel")).status_code == 202
    await start_due(store, LaunchList(), 2, clock)
    assert (await store.process("tune-1")).status is Status.CANCELLED


async def test_a_durable_process_whose_runner_died_before_a_thousand_newer_ones_is_taken_up_again(
    store: InMemoryStore, clock: ManualClock, process: Callable[..., Process]
) -> None:
    await store.enqueue_process(process(1, Status.QUEUED, durable=True))
    await store.save_process((await store.claim_process("tune-1", 15.0)).with_event(1.0, "started", Status.RUNNING))
    await fill_with_ended(store, process)
    clock.advance(60)
    assert await start_due(store, LaunchList(), 2, clock) == ("tune-1",)


async def test_running_ones_take_their_places_however_many_newer_ones_ended(
    store: InMemoryStore, clock: ManualClock, process: Callable[..., Process]
) -> None:
    await store.create_process(process(1), 3600.0)
    await store.create_process(process(2), 3600.0)
    await fill_with_ended(store, process)
    await store.enqueue_process(process(5000, Status.QUEUED))
    assert await start_due(store, LaunchList(), 2, clock) == ()


@pytest.mark.parametrize("status", ["queued", "running"])
async def test_lists_of_those_that_have_not_ended_go_back_as_far_as_it_takes(
    store: InMemoryStore, call: Call, process: Callable[..., Process], status: str
) -> None:
    make = store.enqueue_process if status == "queued" else lambda waiting: store.create_process(waiting, 3600.0)
    await make(process(1, Status(status)))
    await fill_with_ended(store, process, 10_050)
    answer = await call("read", "GET", f"/optimization/processes?status={status}")
    assert [item["process_id"] for item in answer.json()["processes"]] == ["tune-1"]


async def test_a_command_that_cannot_be_read_does_not_block_the_queue(
    agent: OptimizationAgent, store: InMemoryStore, clock: ManualClock
) -> None:
    await store.enqueue_process(Process("odd-1", "of a later version", "churn", Status.QUEUED, 0.0, 0.0))
    command = {"model_id": "churn"}
    await store.enqueue_process(Process("tune-2", "tune", "churn", Status.QUEUED, 1.0, 1.0, command))
    for _ in range(2):
        for process_id in await start_due(store, LaunchList(), 1, clock):
            with pytest.raises(OptAgentError):
                await agent.run_queued(process_id)
    assert (await store.process("odd-1")).status is Status.FAILED
    assert (await store.process("tune-2")).status is Status.FAILED  # its model is not registered: it was started


@pytest.mark.parametrize("resume", [True, "tune-1"])
async def test_a_search_is_resumed_whatever_else_the_model_ran_since(
    agent: OptimizationAgent, store: InMemoryStore, process: Callable[..., Process], resume: bool | str
) -> None:
    command = {"model_id": "churn", "trials": 7}
    await store.create_process(process(1, Status.FAILED, command=command), 60.0)
    for number in range(150):
        ended = process(100 + number, Status.SUCCEEDED)
        await store.create_process(replace(ended, kind="optimize"), 60.0)
    again = await agent._resume_command("churn", resume)
    assert (again.trials, again.resume) == (7, "tune-1")
