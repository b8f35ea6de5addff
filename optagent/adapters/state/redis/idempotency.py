"""Redis idempotency store: answers under idempotency keys in Redis or Valkey.

Keys, below a prefix: `answer:OWNER:KEY` (hash: `digest` of the request, `act` from whose id the ids of all follow that
the request makes, `call` that claimed it, `until` when that claim holds, `answer` once there is one; expires) and
`answers:OWNER` (the number of the owner's new keys; expires a day after the first).
"""

import secrets
from dataclasses import replace

from optagent.adapters.state.process_lease import milliseconds
from optagent.adapters.state.redis import scripts
from optagent.adapters.state.redis.connection import RedisAdapter, RedisConnection
from optagent.adapters.state.store_errors import key_of_another_request, request_under_way, too_many_keys
from optagent.domain.idempotency import KeyClaim, KeyRules


class RedisIdempotencyStore(RedisAdapter):
    """Answers on the server behind a `redis://`, `rediss://` or `unix://` URL; use it from one event loop.

    An answer that comes after its claim has expired is stored all the same, unless another request has the key by then.
    """

    def __init__(self, url: str, prefix: str = "optagent") -> None:
        super().__init__(RedisConnection(url, prefix))

    async def claim(self, owner: str, key: str, digest: str, rules: KeyRules) -> KeyClaim:
        claim = KeyClaim(owner, key, digest, secrets.token_hex(16), secrets.token_hex(8))
        held_ms, kept_ms = milliseconds("held_s", rules.held_s), milliseconds("kept_s", rules.kept_s)
        values = (digest, claim.hold, held_ms, kept_ms, claim.act_id, rules.most_keys)
        outcome, *fields = await self._link.run(scripts.CLAIM_ANSWER, self._keys(claim), *values)
        if outcome == b"OTHER":
            raise key_of_another_request()
        if outcome == b"HELD":
            raise request_under_way()
        if outcome == b"FULL":
            raise too_many_keys(rules.most_keys)
        act_id, *answer = fields
        return replace(
            claim, act_id=act_id.decode(), is_first=outcome == b"FIRST", answer=answer[0] if answer else None
        )

    async def renew(self, claim: KeyClaim, rules: KeyRules) -> None:
        held_ms, kept_ms = milliseconds("held_s", rules.held_s), milliseconds("kept_s", rules.kept_s)
        await self._link.run(scripts.RENEW_ANSWER, self._keys(claim)[:1], claim.hold, held_ms, kept_ms)

    async def keep(self, claim: KeyClaim, answer: bytes, rules: KeyRules) -> None:
        values = (claim.digest, answer, milliseconds("kept_s", rules.kept_s))
        await self._link.run(scripts.KEEP_ANSWER, self._keys(claim)[:1], *values)

    async def suspend(self, claim: KeyClaim) -> None:
        await self._link.run(scripts.SUSPEND_ANSWER, self._keys(claim)[:1], claim.hold)

    async def release(self, claim: KeyClaim) -> None:
        await self._link.run(scripts.RELEASE_ANSWER, self._keys(claim), claim.hold)

    def _keys(self, claim: KeyClaim) -> tuple[str, str]:
        return self._link.key("answer", f"{claim.owner}:{claim.key}"), self._link.key("answers", claim.owner)
