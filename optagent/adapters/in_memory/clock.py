"""Manual clock: a clock that stands still until it is advanced."""

from optagent.errors import InvalidRequest


class ManualClock:
    """A clock whose time moves only by `advance`."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        if not seconds >= 0:
            raise InvalidRequest(f"time does not run backwards: cannot advance by {seconds!r} s")
        self._now += seconds
