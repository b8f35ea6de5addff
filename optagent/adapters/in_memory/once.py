"""What is done once, in the memory of one process."""

from optagent.adapters.state.process_lease import milliseconds
from optagent.ports import Clock


class InMemoryOnce:
    """The part of a Store that remembers what was done; the store has the clock and the place for it."""

    _clock: Clock
    _first_times: dict[str, float]

    async def claim_once(self, key: str, kept_s: float) -> bool:
        now, kept_ms = self._clock.now(), milliseconds("kept_s", kept_s)
        if now < self._first_times.get(key, float("-inf")):
            return False
        self._first_times[key] = now + kept_ms / 1000
        return True

    async def mark_done(self, key: str, kept_s: float) -> None:
        self._first_times[key] = self._clock.now() + milliseconds("kept_s", kept_s) / 1000
