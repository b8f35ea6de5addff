"""Authentication: bearer tokens, their scopes, and the limits of their requests."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from optagent.domain.audit import AuditEntry
from optagent.domain.token import Scope, Token, token_id_of
from optagent.errors import NotAuthenticated, NotPermitted, TooManyRequests, Unavailable
from optagent.ports import Clock, Tokens

_TRUSTED_S = 600.0  # how long a verified token is accepted while the store cannot be asked
_PATIENCE_S = 0.25  # how long a request with such a token waits for its lookup
_RETRY_S = 1.0
_ANONYMOUS = "anonymous"
_OF_DATA_PLANE = frozenset({Scope.PREDICT, Scope.LABEL})  # both count by one rate, since a client sends both


class Authenticator:
    """Finds the token of a request, in a cache whose entries are looked up in `Tokens` again within `cache_s`.

    So a revoked token is refused `cache_s` later at the latest. A token in use is looked up in the background. While
    the store of tokens is away, a known token stays valid for ten minutes: requests never wait for a store that hangs.
    """

    def __init__(
        self,
        tokens: Tokens,
        clock: Clock,
        requests_per_minute: int,
        predictions_per_minute: int,
        cache_s: float = 2.0,
        on_refused: Callable[[AuditEntry], None] = lambda entry: None,
    ) -> None:
        self._tokens = tokens
        self._clock = clock
        self._limits = dict.fromkeys(Scope, requests_per_minute) | dict.fromkeys(_OF_DATA_PLANE, predictions_per_minute)
        self._cache_s = cache_s
        self._on_refused = on_refused
        self._known: dict[str, _KnownToken] = {}

    async def principal(
        self, authorization: str | None, scope: Scope, request_id: str = "", model_id: str = ""
    ) -> Token:
        """The token of an `Authorization` header, if it has `scope` and its limit of this minute allows the request.

        With a `model_id`, the token must not be limited to other models. Raises NotAuthenticated, NotPermitted,
        TooManyRequests, and Unavailable where the token cannot be looked up.
        """
        now = self._clock.now()
        text = _bearer_text(authorization)
        token_id = token_id_of(text)
        known_token = await self._find_known(token_id, now) if token_id is not None else None
        if known_token is None or not known_token.token.matches(text) or not known_token.token.is_valid(now):
            raise self._report_refusal(_not_authenticated(authorization), scope, now, request_id)
        return self._admit(known_token, scope, now, request_id, model_id)

    async def session_principal(self, token_id: str, scope: Scope, request_id: str = "", model_id: str = "") -> Token:
        """The token that a session belongs to, under the conditions of `principal`."""
        now = self._clock.now()
        known_token = await self._find_known(token_id, now)
        if known_token is None or not known_token.token.is_valid(now):
            error = NotAuthenticated("the token of this session has expired or was revoked")
            raise self._report_refusal(error, scope, now, request_id)
        return self._admit(known_token, scope, now, request_id, model_id)

    def _admit(self, known_token: "_KnownToken", scope: Scope, now: float, request_id: str, model_id: str) -> Token:
        token = known_token.token
        if not token.allows(scope):
            detail = f"token {token.name!r} has the scopes {', '.join(token.rights)}: this needs {scope}"
            raise self._report_refusal(NotPermitted(detail), scope, now, request_id, token.label)
        if model_id:
            try:
                token.check_model(model_id)
            except NotPermitted as error:
                raise self._report_refusal(error, scope, now, request_id, token.label) from None
        limit = self._limits[scope]
        if not known_token.rates[scope in _OF_DATA_PLANE].admits(now, limit):
            raise TooManyRequests(f"token {token.name!r} has made its {limit} requests of this minute: wait a little")
        return token

    def knows(self, authorization: str | None) -> bool:
        """True for the header of a valid token that was looked up before; the store is not asked."""
        text = _bearer_text(authorization)
        known_token = self._known.get(token_id_of(text) or "")
        return known_token is not None and known_token.token.matches(text) and self._is_valid(known_token)

    async def still_holds(self, token: Token, scope: Scope) -> bool:
        """False once the token was revoked, has expired or lost the scope; not a request that counts.

        While the store of tokens is away, a token holds as long as requests with it do.
        """
        try:
            known_token = await self._find_known(token.token_id, self._clock.now())
        except Unavailable:
            return False
        return known_token is not None and self._is_valid(known_token) and known_token.token.allows(scope)

    def _is_valid(self, known_token: "_KnownToken") -> bool:
        return known_token.token.is_valid(self._clock.now())

    async def _find_known(self, token_id: str, now: float) -> "_KnownToken | None":
        known_token = self._known.get(token_id)
        if known_token is None:
            return await self._look_up(token_id)
        age = now - known_token.verified_at
        if age < self._cache_s / 2:
            return known_token
        if age >= _TRUSTED_S:
            del self._known[token_id]
            return await self._look_up(token_id)
        if known_token.asking is None and now - known_token.failed_at >= _RETRY_S:
            known_token.start_lookup(self._look_up(token_id))
        if age >= self._cache_s:
            await known_token.wait_for_lookup()
        return self._known.get(token_id)

    async def _look_up(self, token_id: str) -> "_KnownToken | None":
        """The stored token, or the known one where the store is away. Raises Unavailable for an unknown token then."""
        known_token = self._known.get(token_id)
        looked_up_at = self._clock.now()
        try:
            token = await self._tokens.find(token_id)
        except Unavailable:
            if known_token is None:
                raise
            known_token.failed_at = self._clock.now()
            return known_token
        if token is None:
            self._known.pop(token_id, None)
            return None
        if known_token is None:
            known_token = self._known.setdefault(token_id, _KnownToken(token))
        known_token.token, known_token.verified_at = token, looked_up_at
        return known_token

    def _report_refusal(
        self, error: NotAuthenticated | NotPermitted, scope: Scope, now: float, request_id: str, actor: str = _ANONYMOUS
    ) -> NotAuthenticated | NotPermitted:
        self._on_refused(AuditEntry(now, actor, "auth.refused", str(scope), str(error), request_id))
        return error


def _bearer_text(authorization: str | None) -> str:
    return authorization[7:].strip() if authorization and authorization[:7].lower() == "bearer " else ""


def _not_authenticated(authorization: str | None) -> NotAuthenticated:
    if not authorization:
        return NotAuthenticated("a token is needed: send the header `Authorization: Bearer oa_...`")
    return NotAuthenticated("this token is not known, has expired or was revoked")


@dataclass(slots=True)
class _Rate:
    """Counts the requests of this minute and the one before: a limit for any 60 s, to a good approximation.

    A sliding window counter: the minute before counts by the share of it that lies in the last 60 s. The library
    `limits` took 11 us for a request, and starts threads; this takes 0.3 us.
    """

    minute: int = 0
    count: int = 0
    before: int = 0

    def admits(self, now: float, limit: int) -> bool:
        minute, seconds = divmod(now, 60.0)
        if minute != self.minute:
            self.before = self.count if minute == self.minute + 1 else 0
            self.minute, self.count = int(minute), 0
        if self.count + self.before * (1 - seconds / 60) >= limit:
            return False
        self.count += 1
        return True


@dataclass(slots=True)
class _KnownToken:
    """A token that was found, with its latest lookup and its rates of requests and predictions."""

    token: Token
    verified_at: float = -math.inf
    failed_at: float = -math.inf
    asking: asyncio.Task[object] | None = None
    asked_at: float = 0.0
    rates: tuple[_Rate, _Rate] = field(default_factory=lambda: (_Rate(), _Rate()))

    def start_lookup(self, lookup: Awaitable[object]) -> None:
        self.asking = asyncio.ensure_future(lookup)
        self.asked_at = asyncio.get_running_loop().time()
        self.asking.add_done_callback(self._end_lookup)

    async def wait_for_lookup(self) -> None:
        """Waits for the lookup, until a quarter of a second after its start at most."""
        remaining_s = self.asked_at + _PATIENCE_S - asyncio.get_running_loop().time()
        if self.asking is not None and remaining_s > 0:
            await asyncio.wait({self.asking}, timeout=remaining_s)

    def _end_lookup(self, task: asyncio.Task[object]) -> None:
        self.asking = None
        if not task.cancelled():
            task.exception()  # whatever the error was, the token stays as it is known
