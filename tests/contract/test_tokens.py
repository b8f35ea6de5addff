import asyncio
from typing import Any

import pytest

from optagent.domain.token import Scope, Token, digest_of
from optagent.errors import Conflict, NotFound


def a_token(token_id: str = "0123456789ab", created_at: float = 100.0, **changes: Any) -> Token:
    return Token(token_id, "ci runner", digest_of("secret"), (Scope.READ, Scope.PREDICT), created_at, **changes)


async def test_a_created_token_reads_back_equal(tokens):
    limited = a_token("111111111111", models=("churn", "delays"))
    for token in (a_token(), a_token("ba9876543210", expires_at=1_700_000_000.123), limited):
        await tokens.create(token)
        assert await tokens.find(token.token_id) == token


async def test_an_unknown_token_is_none(tokens):
    assert await tokens.find("0123456789ab") is None
    assert await tokens.tokens() == []


async def test_a_taken_id_is_a_conflict_and_changes_nothing(tokens):
    await tokens.create(a_token())
    with pytest.raises(Conflict, match="0123456789ab"):
        await tokens.create(a_token(created_at=200.0))
    assert await tokens.tokens() == [a_token()]


async def test_of_many_creators_of_one_id_exactly_one_succeeds(tokens):
    created = await asyncio.gather(*(tokens.create(a_token()) for _ in range(20)), return_exceptions=True)
    assert created.count(None) == 1
    assert sum(isinstance(answer, Conflict) for answer in created) == 19


async def test_tokens_come_newest_first_with_expired_and_revoked_ones(tokens):
    for token in (a_token("b", 2.5), a_token("a", 1_700_000_000.123), a_token("c", 2.5, expires_at=3.0)):
        await tokens.create(token)
    await tokens.revoke("b", 4.0)
    assert [token.token_id for token in await tokens.tokens()] == ["a", "c", "b"]


async def test_a_revoked_token_stays_revoked_since_the_first_time(tokens):
    await tokens.create(a_token())
    revoked = a_token(revoked_at=200.5)
    assert await tokens.revoke("0123456789ab", 200.5) == revoked
    assert await tokens.revoke("0123456789ab", 300.0) == revoked
    assert await tokens.find("0123456789ab") == revoked
    assert await tokens.tokens() == [revoked]


async def test_of_many_revokers_all_learn_the_same_time(tokens):
    await tokens.create(a_token())
    answers = await asyncio.gather(*(tokens.revoke("0123456789ab", 200.0 + number) for number in range(20)))
    assert len(set(answers)) == 1
    assert await tokens.find("0123456789ab") == answers[0]


async def test_an_unknown_token_cannot_be_revoked(tokens):
    with pytest.raises(NotFound, match="0123456789ab"):
        await tokens.revoke("0123456789ab", 100.0)
    assert await tokens.tokens() == []
