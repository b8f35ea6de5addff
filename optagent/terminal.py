"""What the command line shows: the live progress of a search, its result, and tables."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from optagent.domain.study import Interval, Progress, TuningResult

_QUIET_EVERY_S = 5.0


class SearchDisplay:
    """A live line in a terminal; where output is not a terminal, a plain line every few seconds."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._printed_at = 0.0
        self._done = -1

    def __call__(self, progress: Progress) -> None:
        if self._live is not None:
            self._live.update(progress_table(progress))
        elif progress.trials_done != self._done and time.monotonic() - self._printed_at >= _QUIET_EVERY_S:
            self._printed_at, self._done = time.monotonic(), progress.trials_done
            self._console.print(progress_line(progress), highlight=False, soft_wrap=True)


@contextmanager
def search_display(console: Console, title: str) -> Iterator[SearchDisplay]:
    """Shows a search while it runs."""
    console.print(f"[bold]{title}[/bold]", highlight=False)
    if not console.is_terminal:
        yield SearchDisplay(console, None)
        return
    with Live("starting Ray and its workers …", console=console, refresh_per_second=8) as live:
        yield SearchDisplay(console, live)


def progress_line(progress: Progress) -> str:
    """The state of a search in one line."""
    best = "–" if progress.best_score is None else f"{progress.best_score:.5f}"
    left = "?" if progress.eta_s is None else f"{progress.eta_s:.0f} s"
    return (
        f"trials {progress.trials_done}/{progress.trials_total}  best {best}  stopped early {progress.pruned}  "
        f"failed {progress.failed}  running {progress.running}  {progress.elapsed_s:.0f} s gone, {left} left"
    )


def progress_table(progress: Progress) -> Table:
    """The state of a search with a bar."""
    table = Table.grid(padding=(0, 2))
    share = progress.trials_done / progress.trials_total
    bar = "━" * round(30 * share)
    table.add_row(f"[green]{bar}[/green]{'─' * (30 - len(bar))}", progress_line(progress))
    return table


def show_result(console: Console, result: TuningResult) -> None:
    """The best parameters, the score on the holdout beside the baseline's, and the verdict in words."""
    params = Table(title="Best parameters", show_header=False, title_justify="left")
    for name, value in (result.best_params or {}).items():
        params.add_row(name, f"{value:.6g}" if isinstance(value, float) else str(value))
    console.print(params)

    scores = Table(title=f"{result.metric} on the holdout, which no trial saw", title_justify="left")
    for heading in ("", "score", "interval"):
        scores.add_column(heading)
    for name, interval in (
        ("tuned", result.holdout),
        (result.baseline_name or "baseline", result.baseline_holdout),
        ("improvement", result.improvement),
    ):
        if interval is not None:
            scores.add_row(name, f"{interval.estimate:.5f}", _bounds(interval))
    console.print(scores)
    console.print(verdict_in_words(result), highlight=False)
    for note in result.notes:
        console.print(f"[yellow]note:[/yellow] {note}", highlight=False)
    console.print(
        f"{result.trials} trials in {result.duration_s:.0f} s, {result.pruned} stopped early, {result.failed} failed"
        f"{', ended by the time limit' if result.timed_out else ''}; "
        f"score over the folds {result.best_score:.5f}; process {result.process_id}",
        highlight=False,
    )


def verdict_in_words(result: TuningResult) -> str:
    """What the comparison says, and what was registered because of it."""
    against = result.baseline_name
    said = {
        "pass": f"[green]Better than the {against}: the whole interval of the improvement is above 0.[/green]",
        "fail": f"[red]Worse than the {against}: the whole interval of the improvement is below 0.[/red]",
        "inconclusive": f"[yellow]Not shown to be better than the {against}: the interval holds 0.[/yellow]",
    }[result.verdict or "inconclusive"]
    alias = f" as {', '.join(result.aliases)}" if result.aliases else " without an alias"
    return f"{said} Registered version {result.version}{alias}."


def show_table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table."""
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _bounds(interval: Interval) -> str:
    return f"{interval.low:.5f} to {interval.high:.5f} ({1 - interval.alpha:.0%})"
