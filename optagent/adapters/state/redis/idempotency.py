"""Redis idempotency store: answers under idempotency keys in Redis or Valkey.

Keys, below a prefix: `answer:KEY` (hash: `digest` of the request, `call` that claimed it, `answer` once there is one;
expires).
"""

import secrets

from optagent.adapters.state.process_lease import milliseconds
from optagent.adapters.state.redis import scripts
from optagent.adapters.state.redis.connection import RedisAdapter, RedisConnection
from optagent.adapters.state.store_errors import key_of_another_request, request_under_way


class RedisIdempotencyStore(RedisAdapter):
    """Answers on the server behind a `redis://`, `rediss://` or `unix://` URL; use it from one event loop.

    An answer that comes after its claim has expired is stored all the same, unless another request has the key by then.
    """

    def __init__(self, url: str, prefix: str = "optagent") -> None:
        super().__init__(RedisConnection(url, prefix))

    async def claim(self, key: str, digest: str, held_s: float) -> bytes | None:
        values = (digest, secrets.token_hex(8), milliseconds("held_s", held_s))
        outcome, *answer = await self._link.run(scripts.CLAIM_ANSWER, (self._key(key),), *values)
        if outcome == b"OTHER":
            raise key_of_another_request()
        if outcome == b"HELD":
            raise request_under_way()
        return answer[0] if answer else None

    async def keep(self, key: str, digest: str, answer: bytes, kept_s: float) -> None:
        values = (digest, answer, milliseconds("kept_s", kept_s))
        await self._link.run(scripts.KEEP_ANSWER, (self._key(key),), *values)

    async def release(self, key: str, digest: str) -> None:
        await self._link.run(scripts.RELEASE_ANSWER, (self._key(key),), digest)

    def _key(self, key: str) -> str:
        return self._link.key("answer", key)
