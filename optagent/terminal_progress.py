"""Progress of long calls in a terminal: one line that moves, or plain lines in a log, for searches and for stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from optagent.domain.process import StageProgress

if TYPE_CHECKING:
    from rich.live import Live

    from optagent.domain.study import Progress

_QUIET_EVERY_S = 5.0
_BAR = 30


class ProgressDisplay:
    """A live line in a terminal; elsewhere a plain line for each stage, and every few seconds of what changed."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._printed_at = float("-inf")
        self._stage = ""
        self._line = ""

    def __call__(self, progress: Progress | StageProgress) -> None:
        if self._live is not None:
            self._live.update(_MovingLine(progress))
            return
        is_new_stage = isinstance(progress, StageProgress) and progress.stage != self._stage
        line = progress_line(progress)
        if is_new_stage or (line != self._line and time.monotonic() - self._printed_at >= _QUIET_EVERY_S):
            self._printed_at, self._line = time.monotonic(), line
            self._stage = progress.stage if isinstance(progress, StageProgress) else self._stage
            self._console.print(line, highlight=False, soft_wrap=True)


class _MovingLine:
    """The newest progress as a terminal draws it: the seconds of a stage go on between two calls."""

    def __init__(self, progress: Progress | StageProgress) -> None:
        self._progress = progress
        self._told_at = time.monotonic()

    def __rich__(self) -> Table:
        return progress_table(self._progress, time.monotonic() - self._told_at)


@contextmanager
def progress_display(console: Console, title: str, waiting: str) -> Iterator[ProgressDisplay]:
    """A context in which a long call shows its progress; `waiting` stands there until it has told the first one."""
    console.print(title, style="bold", highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        yield ProgressDisplay(console, None)
        return
    from rich.live import Live

    with Live(waiting, console=console, refresh_per_second=8) as live:
        yield ProgressDisplay(console, live)


def progress_line(progress: Progress | StageProgress, since_s: float = 0.0) -> str:
    """The state of a search or of a stage in one line, `since_s` seconds after it was told."""
    if isinstance(progress, StageProgress):
        counted = "" if progress.total is None else f"  {progress.done}/{progress.total} {progress.unit}"
        return f"{progress.stage}{counted}  {progress.elapsed_s + since_s:.0f} s gone"
    best = "–" if progress.best_score is None else f"{progress.best_score:.5f}"
    left = "?" if progress.eta_s is None else f"{progress.eta_s:.0f} s"
    return (
        f"trials {progress.trials_done}/{progress.trials_total}  best {best}  stopped early {progress.pruned}  "
        f"failed {progress.failed}  running {progress.running}  {progress.elapsed_s:.0f} s gone, {left} left"
    )


def counted_parts(progress: Progress | StageProgress) -> tuple[int, int] | None:
    """The parts that are done, and all of them; None for a stage whose parts are not counted."""
    if not isinstance(progress, StageProgress):
        return progress.trials_done, progress.trials_total
    return None if progress.total is None else (progress.done, progress.total)


def progress_table(progress: Progress | StageProgress, since_s: float = 0.0) -> Table:
    """The state of a search or of a stage as a table, with a progress bar where parts are counted."""
    table = Table.grid(padding=(0, 2))
    done, total = counted_parts(progress) or (0, 0)
    bar = "━" * round(_BAR * done / max(1, total))
    table.add_row(f"[green]{bar}[/green]{'─' * (_BAR - len(bar))}", progress_line(progress, since_s))
    return table
