import asyncio
from typing import Any

from optagent.domain.session import MOST_SESSIONS, DashboardSession
from optagent.ports import Sessions
from tests.contract.conftest import UnderTest

IDLE_S = 60.0


def a_session(number: int = 1, token_id: str = "0123456789ab", lasts_s: float = 600.0) -> DashboardSession:
    return DashboardSession(f"{number:064x}", token_id, 1000.0, 1000.0 + lasts_s)


async def test_a_session_is_there_until_it_is_ended(sessions: Sessions) -> None:
    assert await sessions.use(a_session().digest, IDLE_S) is None
    await sessions.create(a_session(), IDLE_S)
    assert await sessions.use(a_session().digest, IDLE_S) == a_session()
    await sessions.end(a_session().digest)
    await sessions.end(a_session().digest)
    assert await sessions.use(a_session().digest, IDLE_S) is None


async def test_a_session_that_is_not_used_ends(sessions_under_test: UnderTest[Any]) -> None:
    sessions = sessions_under_test.port
    await sessions.create(a_session(), 0.4)
    for _ in range(3):
        await sessions_under_test.pass_time(0.2)
        assert await sessions.use(a_session().digest, 0.4) == a_session()
    await sessions_under_test.pass_time(0.5)
    assert await sessions.use(a_session().digest, 0.4) is None


async def test_a_session_ends_in_any_case(sessions_under_test: UnderTest[Any]) -> None:
    sessions = sessions_under_test.port
    await sessions.create(a_session(lasts_s=0.5), IDLE_S)
    await sessions_under_test.pass_time(0.1)
    assert await sessions.use(a_session().digest, IDLE_S) is not None
    await sessions_under_test.pass_time(0.5)
    assert await sessions.use(a_session().digest, IDLE_S) is None


async def test_a_token_has_so_many_sessions_and_the_oldest_ends_first(sessions: Sessions) -> None:
    other = a_session(1000, "ba9876543210")
    await sessions.create(other, IDLE_S)
    for number in range(MOST_SESSIONS + 3):
        await sessions.create(a_session(number), IDLE_S)
    there = [await sessions.use(a_session(number).digest, IDLE_S) is not None for number in range(MOST_SESSIONS + 3)]
    assert there == [False] * 3 + [True] * MOST_SESSIONS
    assert await sessions.use(other.digest, IDLE_S) == other


async def test_sessions_that_have_ended_take_no_place(sessions: Sessions) -> None:
    await sessions.create(a_session(0), IDLE_S)
    for number in range(1, MOST_SESSIONS + 3):
        await sessions.create(a_session(number), IDLE_S)
        await sessions.end(a_session(number).digest)
    assert await sessions.use(a_session(0).digest, IDLE_S) == a_session(0)


async def test_many_begin_at_once(sessions: Sessions) -> None:
    await asyncio.gather(*(sessions.create(a_session(number), IDLE_S) for number in range(2 * MOST_SESSIONS)))
    there = [await sessions.use(a_session(number).digest, IDLE_S) for number in range(2 * MOST_SESSIONS)]
    assert sum(session is not None for session in there) == MOST_SESSIONS
