"""Fake idempotency store: answers under idempotency keys in the memory of one process."""

from dataclasses import dataclass

from optagent.adapters.state.process_lease import checked_seconds
from optagent.adapters.state.store_errors import key_of_another_request, request_under_way
from optagent.ports import Clock


@dataclass(frozen=True, slots=True)
class _Kept:
    digest: str
    until: float
    answer: bytes | None = None


class InMemoryKeptAnswers:
    """Answers that are lost with their process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def claim(self, key: str, digest: str, held_s: float) -> bytes | None:
        until = self._clock.now() + checked_seconds("held_s", held_s)
        kept = self._find_unexpired(key)
        if kept is None:
            self._kept[key] = _Kept(digest, until)
            return None
        if kept.digest != digest:
            raise key_of_another_request()
        if kept.answer is None:
            raise request_under_way()
        return kept.answer

    async def keep(self, key: str, digest: str, answer: bytes, kept_s: float) -> None:
        until = self._clock.now() + checked_seconds("kept_s", kept_s)
        kept = self._find_unexpired(key)
        if kept is None or kept.digest == digest:
            first = answer if kept is None or kept.answer is None else kept.answer
            self._kept[key] = _Kept(digest, until, first)

    async def release(self, key: str, digest: str) -> None:
        kept = self._find_unexpired(key)
        if kept is not None and kept.digest == digest and kept.answer is None:
            del self._kept[key]

    def _find_unexpired(self, key: str) -> _Kept | None:
        """The answer or claim of a key; drops all that have expired."""
        now = self._clock.now()
        self._kept = {name: kept for name, kept in self._kept.items() if now < kept.until}
        return self._kept.get(key)
