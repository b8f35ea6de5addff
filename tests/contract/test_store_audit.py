"""The audit log of a Store: a chain under many writers, read in portions, and refused where it cannot be written."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.audit import GENESIS, AuditEntry, AuditLink, parse_link
from optagent.domain.audit_anchor import AuditTrust
from optagent.domain.audit_chain import Fault, verify
from optagent.errors import InvalidRequest
from optagent.loop.audit import newest_records
from optagent.ports import Store


def entry(number: int, **changes: Any) -> AuditEntry:
    return AuditEntry(float(number), "ana", "model.update", detail={"number": number}, **changes)


async def all_links(store: Store, limit: int = 3) -> list[AuditLink]:
    """Read in portions, and verified."""
    links: list[AuditLink] = []
    after = (await store.audit_links(0, 1)).start.sequence
    while True:
        page = await store.audit_links(after + len(links), limit)
        links += page.links
        if len(page.links) < limit:
            assert verify(links, page.start, page.head).is_whole
            return links


@pytest.fixture
async def short(either: Any) -> AsyncIterator[Store]:
    """Keeps three links."""
    async with either(partial(InMemoryStore, audit_kept=3), partial(RedisStore, audit_kept=3)) as made:
        yield made.port


async def test_a_new_log_is_empty_and_begins_at_the_genesis(store):
    page = await store.audit_links()
    assert (page.start, page.head, page.links) == (GENESIS, GENESIS, ())


async def test_entries_appended_by_twenty_at_once_are_one_whole_chain(store):
    await asyncio.gather(*(store.append_audit(entry(number)) for number in range(20)))
    links = await all_links(store)
    assert [link.sequence for link in links] == list(range(1, 21))
    assert sorted(link.entry.at for link in links) == [float(number) for number in range(20)]
    assert [each.at for each in await store.audit()] == [link.entry.at for link in reversed(links)]


async def test_links_are_read_in_order_and_in_portions(store):
    for number in range(7):
        await store.append_audit(entry(number, request_id="é\n\u2028"))
    head = (await store.audit_links()).head
    for after, limit, found in (
        (0, 3, [0, 1, 2]),
        (3, 3, [3, 4, 5]),
        (6, 3, [6]),
        (7, 3, []),
        (99, 3, []),
        (5, 1, [5]),
    ):
        page = await store.audit_links(after, limit)
        assert [link.entry.detail["number"] for link in page.links] == found
        assert [link.sequence for link in page.links] == [number + 1 for number in found]
        assert page.head == head
    for wrong in ((-1, 3), (0, 0)):
        with pytest.raises(InvalidRequest, match=r"after must not|limit must be"):
            await store.audit_links(*wrong)


async def test_a_log_that_is_full_drops_its_oldest_links_and_stays_a_chain(short):
    for number in range(5):
        await short.append_audit(entry(number))
    page = await short.audit_links()
    assert page.start.sequence == 2
    assert [link.sequence for link in page.links] == [3, 4, 5]
    assert verify(page.links, page.start, page.head).is_trimmed
    assert [link.sequence for link in (await short.audit_links(4, 10)).links] == [5]
    assert len(await all_links(short, limit=2)) == 3
    assert [each.at for each in await short.audit()] == [4.0, 3.0, 2.0]


@pytest.mark.parametrize("value", [math.nan, b"bytes", {1: 1, 2: 2, 10: 3}], ids=["nan", "bytes", "numbers for keys"])
async def test_what_cannot_be_canonical_json_is_refused_before_anything_is_kept(store, value):
    await store.append_audit(entry(1))
    with pytest.raises(InvalidRequest, match="canonical JSON"):
        await store.append_audit(AuditEntry(2.0, "ana", "model.update", detail={"value": value}))
    assert len(await all_links(store)) == 1


async def test_an_entry_beyond_the_limits_is_bounded_wherever_it_is_kept(store):
    await store.append_audit(entry(1, outcome="o" * 5000))
    await store.append_audit(AuditEntry(2.0, "ana", "model.update", detail={"large": "x" * 100_000, "small": 1}))
    cut, bounded = [link.entry for link in await all_links(store)]
    assert len(cut.outcome) == 1000
    assert bounded.detail["small"] == 1
    assert bounded.detail["large"]["bytes"] == 100_002


async def test_a_page_tells_the_place_of_its_last_link(short):
    for number in range(5):
        await short.append_audit(entry(number))
    assert [(await short.audit_links(*which)).until for which in ((0, 2), (0, 9), (4, 9), (5, 9))] == [4, 5, 5, 5]


async def test_records_are_listed_from_any_number_back(short):
    for number in range(5):
        await short.append_audit(entry(number))
    for limit, before, numbers in (
        (2, None, [5, 4]),
        (9, None, [5, 4, 3]),
        (1, 4, [3]),
        (9, 3, []),
        (9, 99, [5, 4, 3]),
    ):
        assert [record.sequence for record in await newest_records(short, limit, before)] == numbers


async def test_a_store_without_files_knows_of_no_keys_and_no_anchor(store):
    assert await store.audit_trust() == AuditTrust()


async def rewrite_lines(store: Store, change: Callable[[list[str]], list[str]]) -> None:
    """Rewrites the lines of the log, the oldest first, as a person with access to its storage could."""
    if isinstance(store, InMemoryStore):
        lines = change(list(store._audit_links))
        store._audit_links.clear()
        store._audit_links.extend(lines)
        return
    assert isinstance(store, RedisStore)
    key = store._link.key("audit", "links")
    kept = [line.decode() for line in await store._link.redis.lrange(key, 0, -1)]
    await store._link.redis.delete(key)
    await store._link.redis.lpush(key, *change(kept[::-1]))


TAMPERING: dict[str, tuple[Callable[[list[str]], list[str]], int, Fault]] = {
    "altered": (lambda kept: [*kept[:3], kept[3].replace("ana", "bob"), *kept[4:]], 4, Fault.ALTERED),
    "no link": (lambda kept: [*kept[:3], "\udcff".encode(errors="replace").decode(), *kept[4:]], 4, Fault.ALTERED),
    "removed": (lambda kept: [*kept[:3], *kept[4:]], 4, Fault.MISSING),
    "first removed": (lambda kept: kept[1:], 1, Fault.MISSING),
    "last removed": (lambda kept: kept[:-1], 7, Fault.MISSING),
    "swapped": (lambda kept: [*kept[:3], kept[4], kept[3], *kept[5:]], 4, Fault.ORDER),
    "doubled": (lambda kept: [*kept[:3], kept[2], *kept[3:]], 4, Fault.ORDER),
    "appended": (lambda kept: [*kept, kept[0]], 8, Fault.ORDER),
}


@pytest.mark.parametrize("what", TAMPERING)
async def test_what_is_done_to_the_log_where_it_lies_is_found_at_its_place(store, what):
    change, sequence, fault = TAMPERING[what]
    for number in range(7):
        await store.append_audit(entry(number))
    await rewrite_lines(store, change)
    links: list[AuditLink] = []
    while True:
        page = await store.audit_links(len(links), 2)
        links += page.links
        if len(page.links) < 2:
            break
    broken = verify(links, page.start, page.head).broken
    assert (broken.sequence, broken.fault) == (sequence, fault)


async def test_a_link_goes_on_from_the_head_that_was_kept_whatever_was_removed(store):
    for number in range(3):
        await store.append_audit(entry(number))
    await rewrite_lines(store, lambda kept: kept[:-1])
    await store.append_audit(entry(3))
    page = await store.audit_links()
    assert [link.sequence for link in page.links] == [1, 2, 4]
    assert verify(page.links, page.start, page.head).broken.sequence == 3


def test_a_line_is_the_link_that_it_was_made_of():
    assert parse_link("anything").line == "anything"
