"""Fake idempotency store: answers under idempotency keys in the memory of one process."""

import secrets
from dataclasses import dataclass, replace

from optagent.adapters.state.process_lease import checked_seconds
from optagent.adapters.state.store_errors import key_of_another_request, request_under_way, too_many_keys
from optagent.domain.idempotency import KeyClaim, KeyRules
from optagent.ports import Clock


@dataclass(frozen=True, slots=True)
class _Kept:
    claim: KeyClaim
    held_until: float
    kept_until: float


@dataclass(frozen=True, slots=True)
class _Count:
    number: int
    until: float


class InMemoryKeptAnswers:
    """Answers that are lost with their process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._counts: dict[str, _Count] = {}

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def claim(self, owner: str, key: str, digest: str, rules: KeyRules) -> KeyClaim:
        now = self._clock.now()
        until = now + checked_seconds("held_s", rules.held_s), now + checked_seconds("kept_s", rules.kept_s)
        claim = KeyClaim(owner, key, digest, secrets.token_hex(16), secrets.token_hex(8))
        kept = self._find_unexpired(claim)
        if kept is None:
            self._count_key(owner, rules, now)
        else:
            if kept.claim.digest != digest:
                raise key_of_another_request()
            if kept.claim.answer is not None:
                return kept.claim
            if now < kept.held_until:
                raise request_under_way()
            claim = replace(claim, act_id=kept.claim.act_id, is_first=False)
        self._kept[owner, key] = _Kept(claim, *until)
        return claim

    async def renew(self, claim: KeyClaim, rules: KeyRules) -> None:
        now, kept = self._clock.now(), self._find_unexpired(claim)
        until = now + checked_seconds("held_s", rules.held_s), now + checked_seconds("kept_s", rules.kept_s)
        if kept is not None and kept.claim.hold == claim.hold:
            self._kept[claim.owner, claim.key] = _Kept(kept.claim, *until)

    async def keep(self, claim: KeyClaim, answer: bytes, rules: KeyRules) -> None:
        until = self._clock.now() + checked_seconds("kept_s", rules.kept_s)
        kept = self._find_unexpired(claim)
        if kept is None or kept.claim.digest == claim.digest:
            first = answer if kept is None or kept.claim.answer is None else kept.claim.answer
            self._kept[claim.owner, claim.key] = _Kept(replace(claim, answer=first), until, until)

    async def suspend(self, claim: KeyClaim) -> None:
        kept = self._find_unexpired(claim)
        if kept is not None and kept.claim.hold == claim.hold:
            self._kept[claim.owner, claim.key] = replace(kept, held_until=0.0)

    async def release(self, claim: KeyClaim) -> None:
        kept = self._find_unexpired(claim)
        if kept is not None and kept.claim.hold == claim.hold and kept.claim.answer is None:
            del self._kept[claim.owner, claim.key]
            count = self._counts[claim.owner]
            self._counts[claim.owner] = replace(count, number=max(0, count.number - 1))

    def _count_key(self, owner: str, rules: KeyRules, now: float) -> None:
        count = self._counts.get(owner)
        if count is None or now >= count.until:
            count = _Count(0, now + rules.kept_s)
        if count.number >= rules.most_keys:
            raise too_many_keys(rules.most_keys)
        self._counts[owner] = replace(count, number=count.number + 1)

    def _find_unexpired(self, claim: KeyClaim) -> _Kept | None:
        """The answer or claim of a key; drops all that have expired."""
        now = self._clock.now()
        self._kept = {name: kept for name, kept in self._kept.items() if now < kept.kept_until}
        return self._kept.get((claim.owner, claim.key))
