"""A backtest in words and tables, as the page and the terminal show it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from optagent.domain.backtest import BacktestResult, PolicyRun

_HEADINGS = (
    "policy",
    "metric",
    "against never",
    "best in",
    "runs",
    "retrained",
    "promoted",
    "rejected",
    "missed periods",
    "trials",
    "compute s",
)
_SHORT = ("policy", "metric", "against never", "trained, promoted", "missed")
_RUNS = ("when", "trigger", "why it ran", "status", "version", "window", "why not")


def table_of(result: BacktestResult) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each policy."""
    return [*_HEADINGS, *_business(result)], [[*_row(result, run), *_means(result, run)] for run in result.runs]


def short_table_of(result: BacktestResult) -> tuple[list[str], list[list[str]]]:
    """The same in what fits a terminal."""
    rows = []
    for run in result.runs:
        standing = result.standing(run.name)
        gained = None if standing is None else standing.against_never
        rows.append(
            [
                run.name,
                "" if run.metric is None else f"{run.metric:.4f}",
                "" if gained is None else f"{gained.low:+.4f} to {gained.high:+.4f}",
                f"{run.counted.retrains}, {run.counted.promoted}",
                f"{run.counted.missed} of {run.counted.bad_periods}",
                *_means(result, run),
            ]
        )
    return [*_SHORT, *_business(result)], rows


def runs_table(run: PolicyRun) -> tuple[Sequence[str], list[list[str]]]:
    """Headings, and a row for each optimization of a policy."""
    rows = [
        [
            in_time(one.at),
            one.trigger,
            one.reason,
            "promoted" if one.promoted else one.status,
            one.version or "",
            one.window or "",
            one.said or "",
        ]
        for one in run.runs
    ]
    return _RUNS, rows


def facts_of(result: BacktestResult) -> list[tuple[str, str]]:
    """What was replayed, by name."""
    if result.start is None or result.end is None:
        return []
    return [
        ("replayed", f"{in_time(result.start)} to {in_time(result.end)}, {result.rows:,} rows, step {result.step}"),
        ("learned from before", f"{result.learned_rows:,} rows"),
        ("labels come after", str(result.label_delay)),
        ("periods", f"{(result.period_s or 0) / 86_400:g} days each"),
        ("seed", str(result.seed)),
    ]


def in_time(at: float) -> str:
    """A time in UTC, as a page and a plot can show it; the number where there is no such date."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return f"{at:g}"


def _business(result: BacktestResult) -> list[str]:
    """The model's own metrics, which are a mean a row."""
    return list(result.runs[0].business) if result.runs else []


def _means(result: BacktestResult, run: PolicyRun) -> list[str]:
    found = [run.business.get(name) for name in _business(result)]
    return ["" if value is None else f"{value:.5g}" for value in found]


def _row(result: BacktestResult, run: PolicyRun) -> list[str]:
    counted, standing = run.counted, result.standing(run.name)
    gained = None if standing is None else standing.against_never
    return [
        run.name,
        "" if run.metric is None else f"{run.metric:.4f}",
        "" if gained is None else f"{gained.estimate:+.4f} ({gained.low:+.4f} to {gained.high:+.4f})",
        "" if standing is None else f"{standing.best_in:.0%}",
        f"{counted.optimizations}",
        f"{counted.retrains}",
        f"{counted.promoted}",
        f"{counted.rejected}",
        f"{counted.missed} of {counted.bad_periods} bad",
        f"{counted.trials}",
        f"{counted.compute_s:.1f}",
    ]
