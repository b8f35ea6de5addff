"""Authentication: valid and forged tokens, revocation, outages of the store, and limits of requests."""

import asyncio
import secrets

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.domain.audit import AuditEntry
from optagent.domain.token import Scope, Token, digest_of, token_text
from optagent.errors import NotAuthenticated, NotPermitted, TooManyRequests, Unavailable
from serve_app.api.auth import Authenticator
from tests.fakes.tokens import InMemoryTokens

TEXT = token_text("0123456789ab", "Zk3v9Qw7Lr1Xb5Nc8Mh2Ty6Ug4Pe0Ja-_iSdFoGqWxB")
HEADER = f"Bearer {TEXT}"


class FlakyTokens(InMemoryTokens):
    """Tokens whose store can go away, and hang."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.away = False
        self.hangs = asyncio.Event()
        self.hangs.set()

    async def find(self, token_id: str) -> Token | None:
        self.asked += 1
        await self.hangs.wait()
        if self.away:
            raise Unavailable("Redis at 127.0.0.1:6379 does not answer")
        return await super().find(token_id)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_020.0)


@pytest.fixture
async def tokens() -> FlakyTokens:
    tokens = FlakyTokens()
    scopes = (Scope.OPERATE, Scope.PREDICT)
    await tokens.create(Token("0123456789ab", "ci", digest_of(TEXT), scopes, 0.0, predict_sends_labels=False))
    return tokens


@pytest.fixture
def refusals() -> list[AuditEntry]:
    return []


@pytest.fixture
def authenticator(tokens: FlakyTokens, clock: ManualClock, refusals: list[AuditEntry]) -> Authenticator:
    return Authenticator(tokens, clock, 5, 50, on_refused=refusals.append)


async def run_background_tasks() -> None:
    """Lets the tasks that a request started in the background end."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("header", [HEADER, f"bearer {TEXT}", f"BEARER  {TEXT} "])
async def test_a_token_is_taken_however_its_scheme_is_written(authenticator: Authenticator, header: str):
    assert (await authenticator.principal(header, Scope.READ)).name == "ci"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        TEXT,
        f"Basic {TEXT}",
        f"Bearer {TEXT[:-1]}",
        f"Bearer {TEXT[:-1]}{'A' if TEXT[-1] != 'A' else 'B'}",
        f"Bearer {token_text('ffffffffffff', 'x' * 43)}",
        f"Bearer {TEXT}, {TEXT}",
        "Bearer oa_\ud800",
    ],
)
async def test_what_is_no_token_or_a_forged_one_is_refused_and_noted(
    authenticator: Authenticator, refusals: list[AuditEntry], header: str | None
):
    with pytest.raises(NotAuthenticated):
        await authenticator.principal(header, Scope.READ, "r-1")
    [entry] = refusals
    assert (entry.actor, entry.action, entry.target, entry.request_id) == ("anonymous", "auth.refused", "read", "r-1")
    assert TEXT[16:40] not in repr(entry)


async def test_scopes_include_each_other_as_the_domain_says(authenticator: Authenticator, refusals: list[AuditEntry]):
    for scope in (Scope.READ, Scope.OPERATE, Scope.PREDICT):
        await authenticator.principal(HEADER, scope)
    with pytest.raises(NotPermitted, match="token 'ci' has the scopes operate, predict: this needs admin"):
        await authenticator.principal(HEADER, Scope.ADMIN)
    assert refusals[0].actor == "ci (0123456789ab)"


async def test_an_expired_token_is_refused_from_that_moment(
    authenticator: Authenticator, tokens: FlakyTokens, clock: ManualClock
):
    text = token_text("aaaaaaaaaaaa", secrets.token_urlsafe(32))
    await tokens.create(Token("aaaaaaaaaaaa", "brief", digest_of(text), (Scope.READ,), 0.0, clock.now() + 1))
    await authenticator.principal(f"Bearer {text}", Scope.READ)
    clock.advance(1)
    with pytest.raises(NotAuthenticated):
        await authenticator.principal(f"Bearer {text}", Scope.READ)


async def test_a_revoked_token_is_refused_two_seconds_later_at_the_latest(
    authenticator: Authenticator, tokens: FlakyTokens, clock: ManualClock
):
    await authenticator.principal(HEADER, Scope.READ)
    await tokens.revoke("0123456789ab", clock.now())
    clock.advance(2)
    with pytest.raises(NotAuthenticated):
        await authenticator.principal(HEADER, Scope.READ)


async def test_a_token_in_use_is_asked_for_once_a_second_behind_the_requests(
    authenticator: Authenticator, tokens: FlakyTokens, clock: ManualClock
):
    for _ in range(20):
        await authenticator.principal(HEADER, Scope.PREDICT)
    assert tokens.asked == 1
    clock.advance(1)
    tokens.hangs.clear()
    for _ in range(20):
        await authenticator.principal(HEADER, Scope.PREDICT)
    await run_background_tasks()
    assert tokens.asked == 2
    tokens.hangs.set()


async def test_while_the_store_is_away_a_token_that_was_verified_counts_for_ten_minutes(
    authenticator: Authenticator, tokens: FlakyTokens, clock: ManualClock
):
    await authenticator.principal(HEADER, Scope.PREDICT)
    tokens.away = True
    for _ in range(9):
        clock.advance(60)
        await authenticator.principal(HEADER, Scope.PREDICT)
        await run_background_tasks()
    with pytest.raises(Unavailable):
        await authenticator.principal(f"Bearer {token_text('ffffffffffff', TEXT[16:])}", Scope.PREDICT)
    clock.advance(60)
    with pytest.raises(Unavailable):
        await authenticator.principal(HEADER, Scope.PREDICT)
    tokens.away = False
    await authenticator.principal(HEADER, Scope.PREDICT)


async def test_a_store_that_hangs_holds_a_known_token_up_for_a_quarter_of_a_second_once(
    authenticator: Authenticator, tokens: FlakyTokens, clock: ManualClock
):
    await authenticator.principal(HEADER, Scope.PREDICT)
    tokens.hangs.clear()
    clock.advance(3)
    loop = asyncio.get_running_loop()
    start = loop.time()
    await asyncio.gather(*(authenticator.principal(HEADER, Scope.PREDICT) for _ in range(10)))
    first = loop.time() - start
    await authenticator.principal(HEADER, Scope.PREDICT)
    second = loop.time() - start - first
    assert first >= 0.24
    assert second < 0.2
    tokens.hangs.set()


async def test_what_was_revoked_while_the_store_was_away_is_refused_once_it_answers(
    authenticator: Authenticator, tokens: FlakyTokens, clock: ManualClock
):
    await authenticator.principal(HEADER, Scope.READ)
    tokens.away = True
    clock.advance(3)
    await authenticator.principal(HEADER, Scope.READ)
    await tokens.revoke("0123456789ab", clock.now())
    tokens.away = False
    clock.advance(1)
    with pytest.raises(NotAuthenticated):
        await authenticator.principal(HEADER, Scope.READ)


async def test_a_token_may_ask_so_often_in_a_minute_and_predictions_are_counted_apart(
    authenticator: Authenticator, clock: ManualClock
):
    for _ in range(5):
        await authenticator.principal(HEADER, Scope.READ)
    with pytest.raises(TooManyRequests, match="token 'ci' has made its 5 requests of this minute"):
        await authenticator.principal(HEADER, Scope.OPERATE)
    await authenticator.principal(HEADER, Scope.PREDICT)
    clock.advance(120)
    await authenticator.principal(HEADER, Scope.READ)


async def test_labels_and_predictions_are_counted_together(tokens: FlakyTokens, clock: ManualClock):
    text, scopes = token_text("aaaaaaaaaaaa", secrets.token_urlsafe(32)), (Scope.PREDICT, Scope.LABEL)
    await tokens.create(Token("aaaaaaaaaaaa", "shop", digest_of(text), scopes, 0.0))
    authenticator, header = Authenticator(tokens, clock, 1, 4), f"Bearer {text}"
    for scope in (Scope.PREDICT, Scope.LABEL, Scope.LABEL, Scope.PREDICT):
        await authenticator.principal(header, scope)
    for scope in scopes:
        with pytest.raises(TooManyRequests):
            await authenticator.principal(header, scope)


async def test_no_sixty_seconds_admit_much_more_than_the_limit(tokens: FlakyTokens, clock: ManualClock):
    authenticator = Authenticator(tokens, clock, 60, 60)
    admitted: list[float] = []
    for _ in range(600):
        clock.advance(0.5)
        try:
            await authenticator.principal(HEADER, Scope.READ)
            admitted.append(clock.now())
        except TooManyRequests:
            pass
    fullest = max(sum(0 <= at - start < 60 for at in admitted) for start in admitted)
    assert 60 <= fullest <= 75
    assert len(admitted) >= 270
