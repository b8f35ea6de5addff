"""In-memory holdout ledger: the looks at holdouts in one process."""

from dataclasses import replace

from optagent.adapters.state.store_errors import checked_look, no_look
from optagent.codec import decode, encode
from optagent.domain.gate import Verdict
from optagent.domain.ledger import HoldoutLook


class InMemoryLedger:
    """The part of a Store that counts looks at holdouts. It keeps JSON, like the Redis store."""

    def __init__(self) -> None:
        self._looks: dict[str, list[bytes]] = {}

    async def spend_look(self, holdout_digest: str, look: HoldoutLook) -> int:
        checked_look(holdout_digest, look)
        looks = await self.looks(holdout_digest)
        earlier = next((each.number for each in looks if each.identity == look.identity), None)
        if earlier is not None:
            return earlier
        number = len(looks) + 1
        self._looks.setdefault(holdout_digest, []).append(encode(replace(look, number=number, verdict=None)))
        return number

    async def settle_look(self, holdout_digest: str, number: int, verdict: Verdict) -> None:
        looks = self._looks.get(holdout_digest, [])
        if not 1 <= number <= len(looks):
            raise no_look(holdout_digest, number)
        looks[number - 1] = encode(replace(decode(HoldoutLook, looks[number - 1]), verdict=verdict))

    async def looks(self, holdout_digest: str) -> list[HoldoutLook]:
        return [decode(HoldoutLook, data) for data in self._looks.get(holdout_digest, [])]
