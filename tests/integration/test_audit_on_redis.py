"""The audit log on a real server: writers of other processes, answers that are lost, and a head that was altered."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis import audit, audit_scripts
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.audit import AuditEntry
from optagent.domain.audit_chain import verify
from optagent.errors import Busy, OptAgentError

ENTRY = AuditEntry(100.0, "ana", "model.update")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(Path(tmp_path_factory.mktemp("home"))) as running:
        yield running


@pytest.fixture
async def stores(server: EmbeddedRedis, request: pytest.FixtureRequest) -> AsyncIterator[list[RedisStore]]:
    """Four stores over one log, as four processes have them."""
    made = [RedisStore(server.url, prefix=request.node.name) for _ in range(4)]
    yield made
    for store in made:
        await store.close()


async def test_writers_of_several_processes_make_one_whole_chain(stores):
    await asyncio.gather(*(stores[number % 4].append_audit(ENTRY) for number in range(40)))
    page = await stores[0].audit_links()
    assert len(page.links) == 40
    assert verify(page.links, page.start, page.head).is_whole


@pytest.mark.parametrize("lost", ["the link", "the disk"])
async def test_a_call_that_is_repeated_after_a_lost_answer_is_in_the_log_once(stores, monkeypatch, lost):
    store, tries = stores[0], []
    step = "run_at_once" if lost == "the link" else "_write_once"
    taken = getattr(store._link, step)

    async def answered_once(*values: Any) -> Any:
        answer = await taken(*values)
        tries.append(answer)
        if len(tries) == 1:
            raise RedisConnectionError("the answer is lost")
        return answer

    monkeypatch.setattr(store._link, step, answered_once)
    await store.append_audit(ENTRY)
    assert len(tries) == 2
    page = await store.audit_links()
    assert len(page.links) == 1
    assert verify(page.links, page.start, page.head).is_whole


async def test_a_link_that_the_server_lost_before_it_was_on_disk_is_appended_again(stores, monkeypatch):
    store, runs = stores[0], 0
    taken = store._link._write_once

    async def after_a_crash(*command: Any) -> Any:
        nonlocal runs
        runs += 1
        if runs == 1:
            await store._link.redis.flushall()
        return await taken(*command)

    monkeypatch.setattr(store._link, "_write_once", after_a_crash)
    await store.append_audit(ENTRY)
    assert len((await store.audit_links()).links) == 1


async def test_who_loses_every_time_is_told_to_try_again(stores, monkeypatch):
    monkeypatch.setattr(audit, "_TRIES", 3)
    store = stores[0]
    taken = store._link.run_at_once

    async def too_late(*values: Any) -> Any:
        if values[0] == audit_scripts.APPEND:
            await stores[1].append_audit(ENTRY)
        return await taken(*values)

    monkeypatch.setattr(store._link, "run_at_once", too_late)
    with pytest.raises(Busy, match="others appended 3 times to the audit log in Redis at"):
        await store.append_audit(ENTRY)
    assert len((await stores[1].audit_links()).links) == 3


@pytest.mark.parametrize("kept", [b"nonsense", b"\xff"], ids=["nonsense", "no text"])
async def test_a_head_that_was_altered_is_told_and_nothing_is_appended_to_it(stores, kept):
    store = stores[0]
    await store.append_audit(ENTRY)
    await store._link.redis.set(store._link.key("audit", "head"), kept)
    for verb in (store.append_audit(ENTRY), store.audit_links()):
        with pytest.raises(OptAgentError, match=r"the audit log in Redis at .* was altered"):
            await verb


async def test_an_entry_that_was_altered_beyond_reading_is_told(stores):
    store = stores[0]
    await store.append_audit(ENTRY)
    await store._link.redis.lset(store._link.key("audit", "links"), 0, b"\xff")
    with pytest.raises(OptAgentError, match="was altered: a line of the audit log holds no entry"):
        await store.audit()
    assert (await store.audit_links()).links[0].text == "\\xff"
