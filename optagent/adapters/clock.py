"""System clock: the wall clock of this machine."""

import time


class SystemClock:
    """The time of this machine."""

    def now(self) -> float:
        return time.time()
