"""Circuit breaker of a version in a mixture: after failures in a row it is not asked for some seconds."""

FAILURES, REST_S = 3, 5.0


class Breaker:
    """Counts failures in a row. Times are seconds of a clock that never goes back; for one thread only."""

    __slots__ = ("failures", "rests_until")

    def __init__(self) -> None:
        self.failures = 0
        self.rests_until = 0.0

    def allows(self, now: float) -> bool:
        """True where the version is to be asked. At the end of a rest that is so for a single request, which tries."""
        if self.failures < FAILURES:
            return True
        if now < self.rests_until:
            return False
        self.rests_until = now + REST_S
        return True

    def count(self, has_answered: bool, now: float) -> None:
        """Notes the outcome of one request that was allowed."""
        if has_answered:
            self.failures = 0
        else:
            self.failures += 1
            self.rests_until = now + REST_S
