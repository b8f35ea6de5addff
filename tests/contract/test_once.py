import asyncio
import math

import pytest

from optagent.errors import InvalidRequest


async def test_only_the_first_who_asks_hears_that_it_is_the_first_time(store):
    assert await store.claim_once("alert:a", 60.0)
    assert not await store.claim_once("alert:a", 60.0)
    assert await store.claim_once("alert:b", 60.0)


async def test_of_many_who_ask_at_once_one_is_the_first(store):
    answers = await asyncio.gather(*(store.claim_once("alert:a", 60.0) for _ in range(20)))
    assert answers.count(True) == 1


async def test_a_key_is_new_again_when_it_was_kept_for_long_enough(under_test):
    store = under_test.port
    assert await store.claim_once("alert:a", 0.2)
    assert await store.claim_once("alert:b", 60.0)
    await under_test.pass_time(0.25)
    assert await store.claim_once("alert:a", 60.0)
    assert not await store.claim_once("alert:b", 60.0)


async def test_what_is_remembered_is_no_first_time_whether_it_was_asked_for_or_not(store):
    await store.mark_done("alert:a", 60.0)
    assert not await store.claim_once("alert:a", 60.0)


async def test_the_last_word_says_for_how_long(under_test):
    store = under_test.port
    assert await store.claim_once("short", 60.0)
    assert await store.claim_once("long", 0.2)
    await store.mark_done("short", 0.2)
    await store.mark_done("long", 60.0)
    await under_test.pass_time(0.25)
    assert await store.claim_once("short", 60.0)
    assert not await store.claim_once("long", 60.0)


@pytest.mark.parametrize("kept_s", [0.0, -1.0, math.nan, math.inf])
async def test_a_time_that_is_none_is_refused(store, kept_s):
    with pytest.raises(InvalidRequest, match="kept_s must be above 0"):
        await store.claim_once("alert:a", kept_s)
    with pytest.raises(InvalidRequest, match="kept_s must be above 0"):
        await store.mark_done("alert:a", kept_s)
    assert await store.claim_once("alert:a", 60.0)


async def test_any_text_is_a_key(store):
    for key in ("é:1", "a b\n", "x" * 2000):
        assert await store.claim_once(key, 60.0)
        assert not await store.claim_once(key, 60.0)
