"""In-memory holdout ledger: the looks at holdouts in one process."""

from dataclasses import replace

from optagent.adapters.state.store_errors import checked_look, look_taken, no_look
from optagent.codec import decode, encode
from optagent.domain.gate import Verdict
from optagent.domain.ledger import HoldoutLook


class InMemoryLedger:
    """The part of a Store that counts looks at holdouts. It keeps JSON, like the Redis store."""

    def __init__(self) -> None:
        self._looks: dict[str, list[bytes]] = {}

    async def spend_look(self, ledger: str, look: HoldoutLook) -> HoldoutLook:
        checked_look(ledger, look)
        looks = await self.looks(ledger)
        earlier = next((each for each in looks if each.identity == look.identity), None)
        if earlier is not None:
            return earlier
        if look.number != len(looks) + 1:
            raise look_taken(ledger, look)
        unsettled = replace(look, verdict=None)
        self._looks.setdefault(ledger, []).append(encode(unsettled))
        return unsettled

    async def settle_look(self, ledger: str, number: int, verdict: Verdict) -> None:
        looks = self._looks.get(ledger, [])
        if not 1 <= number <= len(looks):
            raise no_look(ledger, number)
        looks[number - 1] = encode(replace(decode(HoldoutLook, looks[number - 1]), verdict=verdict))

    async def looks(self, ledger: str) -> list[HoldoutLook]:
        return [decode(HoldoutLook, data) for data in self._looks.get(ledger, [])]
