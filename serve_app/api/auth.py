"""Who asks: bearer tokens, what each may do, and how often."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from optagent.domain.audit import AuditEntry
from optagent.domain.token import Scope, Token, token_id_of
from optagent.errors import NotAuthenticated, NotPermitted, TooManyRequests, Unavailable
from optagent.ports import Clock, Tokens

_TRUSTED_S = 600.0  # how long a token that was verified is believed while nobody can be asked
_PATIENCE_S = 0.25  # how long a request with such a token waits for the answer to whether it still holds
_RETRY_S = 1.0
_ANONYMOUS = "anonymous"


class Authenticator:
    """Says whose a request is, from what is known of tokens; `Tokens` is asked at most every `cache_s` for each.

    So a revoked token is refused `cache_s` later at the latest. A token in use is looked up in the background, and
    while the store of tokens is away it counts as it did for ten minutes: requests never wait for a store that hangs.
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
        self._limits = dict.fromkeys(Scope, requests_per_minute) | {Scope.PREDICT: predictions_per_minute}
        self._cache_s = cache_s
        self._on_refused = on_refused
        self._known: dict[str, _Known] = {}

    async def principal(self, authorization: str | None, scope: Scope, request_id: str = "") -> Token:
        """The token of an `Authorization` header, if it may do what needs `scope`, once more in this minute.

        Raises NotAuthenticated, NotPermitted, TooManyRequests, and Unavailable where it cannot be known.
        """
        now = self._clock.now()
        text = _bearer(authorization)
        token_id = token_id_of(text)
        known = await self._asked(token_id, now) if token_id is not None else None
        if known is None or not known.token.matches(text) or not known.token.is_valid(now):
            raise self._refused(_unknown(authorization), scope, now, request_id)
        token = known.token
        if not token.allows(scope):
            said = f"token {token.name!r} has the scopes {', '.join(token.scopes)}: this needs {scope}"
            raise self._refused(NotPermitted(said), scope, now, request_id, token.name)
        limit = self._limits[scope]
        if not known.rates[scope is Scope.PREDICT].admits(now, limit):
            raise TooManyRequests(f"token {token.name!r} has made its {limit} requests of this minute: wait a little")
        return token

    async def _asked(self, token_id: str, now: float) -> "_Known | None":
        known = self._known.get(token_id)
        if known is None:
            return await self._looked_up(token_id)
        age = now - known.verified_at
        if age < self._cache_s / 2:
            return known
        if age >= _TRUSTED_S:
            del self._known[token_id]
            return await self._looked_up(token_id)
        if known.asking is None and now - known.failed_at >= _RETRY_S:
            known.ask(self._looked_up(token_id))
        if age >= self._cache_s:
            await known.answer()
        return self._known.get(token_id)

    async def _looked_up(self, token_id: str) -> "_Known | None":
        """What is kept of a token; what is known of it where the store is away. Raises Unavailable for a new one."""
        known = self._known.get(token_id)
        asked_at = self._clock.now()
        try:
            token = await self._tokens.find(token_id)
        except Unavailable:
            if known is None:
                raise
            known.failed_at = self._clock.now()
            return known
        if token is None:
            self._known.pop(token_id, None)
            return None
        if known is None:
            known = self._known.setdefault(token_id, _Known(token))
        known.token, known.verified_at = token, asked_at
        return known

    def _refused(
        self, error: NotAuthenticated | NotPermitted, scope: Scope, now: float, request_id: str, actor: str = _ANONYMOUS
    ) -> NotAuthenticated | NotPermitted:
        self._on_refused(AuditEntry(now, actor, "auth.refused", str(scope), str(error), request_id))
        return error


def _bearer(authorization: str | None) -> str:
    return authorization[7:].strip() if authorization and authorization[:7].lower() == "bearer " else ""


def _unknown(authorization: str | None) -> NotAuthenticated:
    if not authorization:
        return NotAuthenticated("a token is needed: send the header `Authorization: Bearer oa_...`")
    return NotAuthenticated("this token is not known, has expired or was revoked")


@dataclass(slots=True)
class _Rate:
    """Counts what was admitted this minute and the one before: at most so many in any 60 s, to a good approximation.

    The sliding window counter: the minute before counts by the share of it that the last 60 s reach back to. The
    library `limits` took 11 us a hit, and starts threads; this takes .3.
    """

    minute: int = 0
    count: int = 0
    before: int = 0

    def admits(self, now: float, limit: int) -> bool:
        minute, into = divmod(now, 60.0)
        if minute != self.minute:
            self.before = self.count if minute == self.minute + 1 else 0
            self.minute, self.count = int(minute), 0
        if self.count + self.before * (1 - into / 60) >= limit:
            return False
        self.count += 1
        return True


@dataclass(slots=True)
class _Known:
    """A token that was found, and whether it is being looked up again."""

    token: Token
    verified_at: float = -math.inf
    failed_at: float = -math.inf
    asking: asyncio.Task[object] | None = None
    asked_at: float = 0.0
    rates: tuple[_Rate, _Rate] = field(default_factory=lambda: (_Rate(), _Rate()))

    def ask(self, question: Awaitable[object]) -> None:
        self.asking = asyncio.ensure_future(question)
        self.asked_at = asyncio.get_running_loop().time()
        self.asking.add_done_callback(self._answered)

    async def answer(self) -> None:
        """Waits for the answer, for no longer than patience lasts since the question."""
        left = self.asked_at + _PATIENCE_S - asyncio.get_running_loop().time()
        if self.asking is not None and left > 0:
            await asyncio.wait({self.asking}, timeout=left)

    def _answered(self, task: asyncio.Task[object]) -> None:
        self.asking = None
        if not task.cancelled():
            task.exception()  # whatever it was, the token goes on as it is known


@dataclass(slots=True)
class RefusalLog:
    """Writes refusals into the audit log behind the requests' back, at most `per_minute`: a flood cannot push it out.

    What was not written is counted in the next entry that is.
    """

    record: Callable[[AuditEntry], Awaitable[None]]
    per_minute: int = 60
    unwritten: int = 0
    _rate: _Rate = field(default_factory=_Rate)
    _writing: set[asyncio.Task[None]] = field(default_factory=set)

    def __call__(self, entry: AuditEntry) -> None:
        if len(self._writing) >= self.per_minute or not self._rate.admits(entry.at, self.per_minute):
            self.unwritten += 1
            return
        if self.unwritten:
            entry = replace(entry, detail={**entry.detail, "unwritten_before": self.unwritten})
            self.unwritten = 0
        task = asyncio.ensure_future(self._write(entry))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, entry: AuditEntry) -> None:
        try:
            await self.record(entry)
        except Exception:  # the log of refusals is away: requests go on
            self.unwritten += 1
