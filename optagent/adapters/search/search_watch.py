"""Search watch: the time limit and the cancel flag of a search, and the reports of its progress."""

import time
from collections.abc import Callable

from optagent.domain.study import Progress, Study

_PROGRESS_EVERY_S = 0.25
_LOOK_EVERY_S = 0.02


class SearchWatch:
    """Looks at the clock and at the cancel flag between the steps of a search, and reports its progress."""

    def __init__(
        self,
        study: Study,
        progress: Callable[[], Progress],
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        is_over: Callable[[], bool],
    ) -> None:
        self.timed_out = False
        self.was_cancelled = False
        self._progress = progress
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._is_over = is_over
        self._until = time.monotonic() + study.timeout_s
        self._next = 0.0

    def is_over(self) -> bool:
        """True once a look has found that the search has to stop."""
        return self.timed_out or self.was_cancelled

    def wait_while(self, condition: Callable[[], bool]) -> None:
        """Waits for as long as the condition holds and the search has not to stop."""
        while condition() and not self.look():
            time.sleep(_LOOK_EVERY_S)

    def look(self) -> bool:
        """True when the search has to stop."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_EVERY_S
            self._on_progress(self._progress())
            self.was_cancelled = self._cancelled()
        self.timed_out = now >= self._until or self._is_over()
        return self.timed_out or self.was_cancelled
