"""In-memory once-only keys: claims of work that is done once, in one process."""

from optagent.adapters.state.process_lease import milliseconds
from optagent.ports import Clock


class InMemoryOnce:
    """The part of a Store that remembers which work was done; the store provides the clock and the dictionary."""

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
