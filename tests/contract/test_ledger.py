"""Contract of the holdout ledger of every store."""

import asyncio
from dataclasses import replace

import pytest

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.gate import Verdict
from optagent.domain.ledger import HoldoutLook
from optagent.errors import InvalidRequest, NotFound
from optagent.ports import Store


def a_look(candidate: str = "c1", process_id: str = "p1", holdout: str = "d1") -> HoldoutLook:
    return HoldoutLook(holdout, candidate, process_id, at=1_700_000_000.25, alpha=0.05)


async def test_looks_are_counted_from_one_for_each_holdout(store: Store) -> None:
    found = [await store.spend_look("d1", a_look(candidate)) for candidate in ("c1", "c2", "c3")]
    assert found == [1, 2, 3]
    assert await store.spend_look("d2", a_look(holdout="d2")) == 1


async def test_a_call_that_is_repeated_answers_the_same_number_and_counts_once(store: Store) -> None:
    await store.spend_look("d1", a_look("c0"))
    first = await store.spend_look("d1", a_look())
    await store.spend_look("d1", a_look("c2"))
    again = await store.spend_look("d1", replace(a_look(), at=1_700_000_009.0))
    assert (first, again) == (2, 2)
    assert len(await store.looks("d1")) == 3
    assert (await store.looks("d1"))[1].at == a_look().at


async def test_another_process_or_another_candidate_is_another_look(store: Store) -> None:
    looks = [a_look("c1", "p1"), a_look("c1", "p2"), a_look("c2", "p1"), a_look("1", "p1\nc"), a_look("c\n1", "p1")]
    assert [await store.spend_look("d1", look) for look in looks] == [1, 2, 3, 4, 5]


async def test_looks_read_back_in_their_order_with_their_numbers_and_verdicts(store: Store) -> None:
    for candidate in ("é", "c2"):
        await store.spend_look("d1", a_look(candidate))
    await store.settle_look("d1", 2, Verdict.INCONCLUSIVE)
    assert await store.looks("d1") == [
        replace(a_look("é"), number=1),
        replace(a_look("c2"), number=2, verdict=Verdict.INCONCLUSIVE),
    ]


async def test_a_look_that_nobody_settled_is_counted_all_the_same(store: Store) -> None:
    await store.spend_look("d1", replace(a_look("c1"), number=77, verdict=Verdict.PASS))
    assert [(look.number, look.verdict) for look in await store.looks("d1")] == [(1, None)]
    assert await store.spend_look("d1", a_look("c2")) == 2


async def test_the_last_verdict_of_a_look_counts(store: Store) -> None:
    await store.spend_look("d1", a_look())
    await store.settle_look("d1", 1, Verdict.PASS)
    await store.settle_look("d1", 1, Verdict.FAIL)
    await store.spend_look("d1", a_look())
    assert [look.verdict for look in await store.looks("d1")] == [Verdict.FAIL]


async def test_a_holdout_that_nobody_looked_at_has_no_looks(store: Store) -> None:
    assert await store.looks("d1") == []


@pytest.mark.parametrize("number", [0, -1, 2])
async def test_a_look_that_was_never_made_cannot_be_settled(store: Store, number: int) -> None:
    await store.spend_look("d1", a_look())
    with pytest.raises(NotFound, match=f"no look {number} at holdout d1"):
        await store.settle_look("d1", number, Verdict.PASS)


async def test_a_look_at_another_holdout_is_refused(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="a look at holdout d1 cannot be written for holdout d2"):
        await store.spend_look("d2", a_look())
    assert await store.looks("d2") == []


async def test_looks_at_the_same_instant_get_numbers_of_their_own(store: Store) -> None:
    looks = [a_look(f"c{number}") for number in range(20)]
    found = await asyncio.gather(*(store.spend_look("d1", look) for look in [*looks, *looks]))
    assert sorted(found[:20]) == list(range(1, 21))
    assert found[20:] == found[:20]
    assert [look.number for look in await store.looks("d1")] == list(range(1, 21))


async def test_looks_outlive_the_process_that_made_them(embedded_redis: EmbeddedRedis) -> None:
    first = RedisStore(embedded_redis.url, prefix="test-outlive")
    await first.spend_look("d1", a_look())
    await first.close()
    second = RedisStore(embedded_redis.url, prefix="test-outlive")
    assert await second.spend_look("d1", a_look("c2")) == 2
    await second.close()
