import asyncio

import pytest

from optagent.errors import Conflict, InvalidRequest


async def test_the_first_with_a_key_does_the_work_and_later_ones_get_its_answer(answers):
    assert await answers.claim("k", "d", 60) is None
    await answers.keep("k", "d", b"\x00 202 \xff", 60)
    for _ in range(2):
        assert await answers.claim("k", "d", 60) == b"\x00 202 \xff"


async def test_an_empty_answer_is_an_answer(answers):
    await answers.claim("k", "d", 60)
    await answers.keep("k", "d", b"", 60)
    assert await answers.claim("k", "d", 60) == b""


async def test_the_same_request_waits_for_the_one_under_way(answers):
    await answers.claim("k", "d", 60)
    with pytest.raises(Conflict, match="under way"):
        await answers.claim("k", "d", 60)
    assert await answers.claim("another key", "d", 60) is None


async def test_of_many_with_one_key_exactly_one_does_the_work(answers):
    claimed = await asyncio.gather(*(answers.claim("k", "d", 60) for _ in range(20)), return_exceptions=True)
    assert claimed.count(None) == 1
    assert sum(isinstance(answer, Conflict) for answer in claimed) == 19


async def test_a_key_is_of_one_request_for_as_long_as_it_is_known(answers):
    await answers.claim("k", "d", 60)
    with pytest.raises(InvalidRequest, match="another request"):
        await answers.claim("k", "other", 60)
    await answers.keep("k", "d", b"first", 60)
    with pytest.raises(InvalidRequest, match="another request"):
        await answers.claim("k", "other", 60)
    await answers.keep("k", "other", b"second", 60)
    await answers.release("k", "other")
    assert await answers.claim("k", "d", 60) == b"first"


async def test_a_released_key_may_be_used_again_even_for_another_request(answers):
    await answers.claim("k", "d", 60)
    await answers.release("k", "d")
    assert await answers.claim("k", "other", 60) is None


async def test_an_answer_is_not_released(answers):
    await answers.claim("k", "d", 60)
    await answers.keep("k", "d", b"first", 60)
    await answers.release("k", "d")
    assert await answers.claim("k", "d", 60) == b"first"


async def test_releasing_what_nobody_claimed_changes_nothing(answers):
    await answers.release("k", "d")
    assert await answers.claim("k", "d", 60) is None


async def test_a_claim_whose_caller_is_gone_expires(answers_under_test):
    answers = answers_under_test.port
    await answers.claim("k", "d", held_s=0.05)
    await answers_under_test.pass_time(0.3)
    assert await answers.claim("k", "other", 60) is None


async def test_an_answer_is_kept_for_its_own_time_not_that_of_the_claim(answers_under_test):
    answers = answers_under_test.port
    await answers.claim("long", "d", held_s=0.2)
    await answers.keep("long", "d", b"a", kept_s=60)
    await answers.claim("short", "d", held_s=60)
    await answers.keep("short", "d", b"a", kept_s=0.05)
    await answers_under_test.pass_time(0.4)
    assert await answers.claim("long", "d", 60) == b"a"
    assert await answers.claim("short", "d", 60) is None


async def test_an_answer_that_comes_after_its_claim_expired_is_kept_unless_another_request_has_the_key(
    answers_under_test,
):
    answers = answers_under_test.port
    for key in ("free", "taken"):
        await answers.claim(key, "d", held_s=0.05)
    await answers_under_test.pass_time(0.3)
    await answers.claim("taken", "other", 60)
    for key in ("free", "taken"):
        await answers.keep(key, "d", b"late", 60)
    assert await answers.claim("free", "d", 60) == b"late"
    with pytest.raises(Conflict, match="under way"):
        await answers.claim("taken", "other", 60)


async def test_the_first_of_two_answers_stays(answers):
    await answers.claim("k", "d", 60)
    await answers.keep("k", "d", b"first", 60)
    await answers.keep("k", "d", b"second", 60)
    assert await answers.claim("k", "d", 60) == b"first"


async def test_a_key_may_be_any_text(answers):
    key = "é :\n*?[a]" + "x" * 280
    assert await answers.claim(key, "sha256:é", 60) is None
    await answers.keep(key, "sha256:é", b"a", 60)
    assert await answers.claim(key, "sha256:é", 60) == b"a"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
async def test_what_is_no_duration_is_refused(answers, seconds):
    with pytest.raises(InvalidRequest, match="held_s"):
        await answers.claim("k", "d", seconds)
    with pytest.raises(InvalidRequest, match="kept_s"):
        await answers.keep("k", "d", b"a", seconds)
