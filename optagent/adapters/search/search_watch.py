"""Search watch: the time limit and the cancel flag of a search, and the reports of its progress."""

import time
from collections.abc import Callable

from optagent.domain.study import Progress, Study

_PROGRESS_EVERY_S = 0.25


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
        self.progress = progress
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._is_over = is_over
        self._until = time.monotonic() + study.timeout_s
        self._next = 0.0

    def look(self) -> bool:
        """True when the search has to stop."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_EVERY_S
            self._on_progress(self.progress())
            self.was_cancelled = self._cancelled()
        self.timed_out = now >= self._until or self._is_over()
        return self.timed_out or self.was_cancelled
