import asyncio
from dataclasses import replace

import pytest

from optagent.domain.idempotency import KeyClaim, KeyRules
from optagent.errors import Conflict, InvalidRequest, TooManyRequests

RULES = KeyRules(held_s=60, kept_s=3600, most_keys=100)
SHORT = replace(RULES, held_s=0.05)


async def claim(answers, key: str = "k", digest: str = "d", rules: KeyRules = RULES) -> KeyClaim:
    return await answers.claim("ci", key, digest, rules)


async def test_the_first_with_a_key_does_the_work_and_later_ones_get_its_answer(answers):
    first = await claim(answers)
    assert (first.answer, first.is_first) == (None, True)
    await answers.keep(first, b"\x00 202 \xff", RULES)
    for _ in range(2):
        assert (await claim(answers)).answer == b"\x00 202 \xff"


async def test_an_empty_answer_is_an_answer(answers):
    await answers.keep(await claim(answers), b"", RULES)
    assert (await claim(answers)).answer == b""


async def test_the_same_request_waits_for_the_one_under_way(answers):
    first = await claim(answers)
    with pytest.raises(Conflict, match="under way"):
        await claim(answers)
    assert (await claim(answers, "another key")).act_id != first.act_id


async def test_of_many_with_one_key_exactly_one_does_the_work(answers):
    outcomes = await asyncio.gather(*(claim(answers) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(outcome, KeyClaim) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 19


async def test_a_key_is_of_one_request_for_as_long_as_it_is_known(answers):
    first = await claim(answers)
    with pytest.raises(InvalidRequest, match="another request"):
        await claim(answers, digest="other")
    await answers.keep(first, b"first", RULES)
    with pytest.raises(InvalidRequest, match="another request"):
        await claim(answers, digest="other")
    other = replace(first, digest="other", hold="another")
    await answers.keep(other, b"second", RULES)
    await answers.release(other)
    assert (await claim(answers)).answer == b"first"


async def test_keys_of_two_owners_are_two_keys(answers):
    await answers.claim("ci", "k", "d", RULES)
    assert (await answers.claim("ops", "k", "other", RULES)).answer is None


async def test_a_released_key_may_be_used_again_even_for_another_request(answers):
    first = await claim(answers)
    await answers.release(first)
    assert (await claim(answers, digest="other")).act_id != first.act_id


async def test_an_answer_is_not_released(answers):
    first = await claim(answers)
    await answers.keep(first, b"first", RULES)
    await answers.release(first)
    await answers.suspend(first)
    assert (await claim(answers)).answer == b"first"


async def test_a_suspended_claim_is_followed_by_one_of_the_same_act(answers):
    first = await claim(answers)
    await answers.suspend(first)
    with pytest.raises(InvalidRequest, match="another request"):
        await claim(answers, digest="other")
    second = await claim(answers)
    assert (second.act_id, second.is_first, second.answer) == (first.act_id, False, None)
    with pytest.raises(Conflict, match="under way"):
        await claim(answers)


async def test_a_claim_whose_caller_is_gone_is_followed_by_one_of_the_same_act(answers_under_test):
    answers = answers_under_test.port
    first = await claim(answers, rules=SHORT)
    await answers_under_test.pass_time(0.3)
    second = await claim(answers)
    assert (second.act_id, second.is_first) == (first.act_id, False)
    for end in (answers.release, answers.suspend):
        await end(first)  # comes too late, and changes nothing
    await answers.renew(first, SHORT)
    await answers_under_test.pass_time(0.3)
    with pytest.raises(Conflict, match="under way"):
        await claim(answers)


async def test_a_renewed_claim_holds_on(answers_under_test):
    answers = answers_under_test.port
    first = await claim(answers, rules=replace(RULES, held_s=0.3))
    await answers.renew(first, RULES)
    await answers_under_test.pass_time(0.5)
    with pytest.raises(Conflict, match="under way"):
        await claim(answers)


async def test_a_key_is_forgotten_after_its_time(answers_under_test):
    answers = answers_under_test.port
    brief = replace(SHORT, kept_s=0.05)
    first = await claim(answers, rules=brief)
    await answers.keep(await claim(answers, "answered", rules=brief), b"a", brief)
    await answers.keep(await claim(answers, "long", rules=brief), b"a", RULES)
    await answers_under_test.pass_time(0.3)
    assert (await claim(answers, digest="other")).act_id != first.act_id
    assert (await claim(answers, "answered")).answer is None
    assert (await claim(answers, "long")).answer == b"a"


async def test_an_answer_that_comes_late_is_kept_unless_another_request_has_the_key(answers_under_test):
    answers, brief = answers_under_test.port, replace(SHORT, kept_s=0.05)
    claims = [await claim(answers, key, rules=brief) for key in ("free", "taken")]
    await answers_under_test.pass_time(0.3)
    await claim(answers, "taken", "other")
    for each in claims:
        await answers.keep(each, b"late", RULES)
    assert (await claim(answers, "free")).answer == b"late"
    with pytest.raises(Conflict, match="under way"):
        await claim(answers, "taken", "other")


async def test_the_first_of_two_answers_stays(answers):
    first = await claim(answers)
    await answers.keep(first, b"first", RULES)
    await answers.keep(first, b"second", RULES)
    assert (await claim(answers)).answer == b"first"


async def test_new_keys_of_an_owner_are_bounded_and_known_ones_stay_usable(answers):
    rules = replace(RULES, most_keys=2)
    first = await claim(answers, "1", rules=rules)
    await answers.keep(first, b"a", rules)
    second = await claim(answers, "2", rules=rules)
    with pytest.raises(TooManyRequests, match="2 idempotency keys"):
        await claim(answers, "3", rules=rules)
    assert (await claim(answers, "1", rules=rules)).answer == b"a"
    assert (await answers.claim("ops", "3", "d", rules)).answer is None
    await answers.suspend(second)
    assert not (await claim(answers, "2", rules=rules)).is_first


async def test_a_key_whose_request_was_refused_does_not_count(answers):
    rules = replace(RULES, most_keys=1)
    for _ in range(3):
        await answers.release(await claim(answers, rules=rules))
    await claim(answers, rules=rules)
    with pytest.raises(TooManyRequests):
        await claim(answers, "another", rules=rules)


async def test_the_number_of_keys_begins_anew_after_their_time(answers_under_test):
    answers, rules = answers_under_test.port, KeyRules(0.05, 0.05, 1)
    await claim(answers, rules=rules)
    await answers_under_test.pass_time(0.3)
    assert (await claim(answers, "another", rules=rules)).is_first


async def test_a_key_may_be_any_text(answers):
    key = "é :\n*?[a]" + "x" * 280
    await answers.keep(await claim(answers, key, "sha256:é"), b"a", RULES)
    assert (await claim(answers, key, "sha256:é")).answer == b"a"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
async def test_what_is_no_duration_is_refused(answers, seconds):
    with pytest.raises(InvalidRequest, match="held_s"):
        await claim(answers, rules=replace(RULES, held_s=seconds))
    first = await claim(answers)
    with pytest.raises(InvalidRequest, match="kept_s"):
        await answers.keep(first, b"a", replace(RULES, kept_s=seconds))
