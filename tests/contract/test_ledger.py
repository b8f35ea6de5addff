"""Contract of the holdout ledger of every store."""

import asyncio
from dataclasses import replace

import pytest

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.gate import Verdict
from optagent.domain.ledger import HoldoutLook
from optagent.errors import Conflict, InvalidRequest, NotFound
from optagent.ports import Store


def a_look(number: int = 1, candidate: str = "c1", process_id: str = "p1", model_id: str = "m1") -> HoldoutLook:
    return HoldoutLook(
        "d1", candidate, process_id, at=1_700_000_000.25, alpha=0.05, number=number, model_id=model_id,
        share=0.1, sample="00ff00ff00ff00ff",
    )  # fmt: skip


async def test_looks_are_counted_from_one_for_each_ledger(store: Store) -> None:
    for number, candidate in enumerate(("c1", "c2", "c3"), 1):
        assert await store.spend_look("m1", a_look(number, candidate)) == a_look(number, candidate)
    assert (await store.spend_look("m2", a_look(model_id="m2"))).number == 1


async def test_a_look_that_took_the_number_of_another_is_refused(store: Store) -> None:
    await store.spend_look("m1", a_look())
    for number in (1, 3, 0):
        with pytest.raises(Conflict, match=f"look {number} of ledger m1 is not the next one"):
            await store.spend_look("m1", a_look(number, "c2"))
    assert await store.looks("m1") == [a_look()]


async def test_a_call_that_is_repeated_answers_the_same_look_and_counts_once(store: Store) -> None:
    await store.spend_look("m1", a_look(1, "c0"))
    first = await store.spend_look("m1", a_look(2))
    await store.spend_look("m1", a_look(3, "c2"))
    again = await store.spend_look("m1", replace(a_look(4), at=1_700_000_009.0, share=0.01))
    assert first == again == a_look(2)
    assert len(await store.looks("m1")) == 3


async def test_another_process_or_another_candidate_is_another_look(store: Store) -> None:
    names = [("c1", "p1"), ("c1", "p2"), ("c2", "p1"), ("1", "p1\nc"), ("c\n1", "p1")]
    looks = [a_look(number, *name) for number, name in enumerate(names, 1)]
    assert [await store.spend_look("m1", look) for look in looks] == looks


async def test_looks_read_back_in_their_order_with_their_numbers_and_verdicts(store: Store) -> None:
    for number, candidate in enumerate(("é", "c2"), 1):
        await store.spend_look("m1", a_look(number, candidate))
    await store.settle_look("m1", 2, Verdict.INCONCLUSIVE)
    assert await store.looks("m1") == [a_look(1, "é"), replace(a_look(2, "c2"), verdict=Verdict.INCONCLUSIVE)]


async def test_a_look_that_nobody_settled_is_counted_all_the_same(store: Store) -> None:
    await store.spend_look("m1", replace(a_look(), verdict=Verdict.PASS))
    assert [(look.number, look.verdict) for look in await store.looks("m1")] == [(1, None)]
    assert (await store.spend_look("m1", a_look(2, "c2"))).number == 2


async def test_the_last_verdict_of_a_look_counts(store: Store) -> None:
    await store.spend_look("m1", a_look())
    await store.settle_look("m1", 1, Verdict.PASS)
    await store.settle_look("m1", 1, Verdict.FAIL)
    await store.spend_look("m1", a_look())
    assert [look.verdict for look in await store.looks("m1")] == [Verdict.FAIL]


async def test_a_model_that_nobody_looked_at_has_no_looks(store: Store) -> None:
    assert await store.looks("m1") == []


@pytest.mark.parametrize("number", [0, -1, 2])
async def test_a_look_that_was_never_made_cannot_be_settled(store: Store, number: int) -> None:
    await store.spend_look("m1", a_look())
    with pytest.raises(NotFound, match=f"no look {number} in ledger m1"):
        await store.settle_look("m1", number, Verdict.PASS)


async def test_a_look_of_another_ledger_is_refused(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="a look of ledger m1 cannot be written to ledger m2"):
        await store.spend_look("m2", a_look())
    assert await store.looks("m2") == []


async def test_of_looks_at_the_same_instant_one_gets_the_number_and_the_others_count_anew(store: Store) -> None:
    async def spend(candidate: str) -> int:
        while True:
            number = len(await store.looks("m1")) + 1
            try:
                return (await store.spend_look("m1", a_look(number, candidate))).number
            except Conflict:
                continue

    numbers = await asyncio.gather(*(spend(f"c{number}") for number in [*range(8), *range(8)]))
    assert sorted(numbers[:8]) == list(range(1, 9))
    assert numbers[8:] == numbers[:8]
    assert [look.number for look in await store.looks("m1")] == list(range(1, 9))


async def test_looks_outlive_the_process_that_made_them(embedded_redis: EmbeddedRedis) -> None:
    first = RedisStore(embedded_redis.url, prefix="test-outlive")
    await first.spend_look("m1", a_look())
    await first.close()
    second = RedisStore(embedded_redis.url, prefix="test-outlive")
    assert (await second.spend_look("m1", a_look(2, "c2"))).number == 2
    await second.close()


async def test_looks_that_an_earlier_version_counted_for_each_holdout_can_be_read(
    embedded_redis: EmbeddedRedis,
) -> None:
    store = RedisStore(embedded_redis.url, prefix="test-earlier")
    record = '{"holdout":"d1","candidate":"c1","process_id":"p1","at":1.5,"alpha":0.05,"number":0,"verdict":null}'
    await store._link.redis.rpush("test-earlier:looks:d1", record)
    await store._link.redis.hset("test-earlier:look_verdicts:d1", "1", "pass")
    assert await store.looks("d1") == [HoldoutLook("d1", "c1", "p1", 1.5, 0.05, number=1, verdict=Verdict.PASS)]
    await store.close()
