"""Backtest tables: the policies of a backtest compared, as the page and the terminal show them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from optagent.domain.backtest import BacktestResult
from optagent.domain.policy_run import PolicyRun

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


def policies_table(result: BacktestResult) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each policy."""
    return [*_HEADINGS, *_business_metrics(result)], [
        [*_policy_row(result, run), *_means(result, run)] for run in result.runs
    ]


def short_policies_table(result: BacktestResult) -> tuple[list[str], list[list[str]]]:
    """The same table with fewer columns, so that it fits a terminal."""
    rows = []
    for run in result.runs:
        standing = result.standing(run.name)
        gain = None if standing is None else standing.against_never
        rows.append(
            [
                run.name,
                "" if run.metric is None else f"{run.metric:.4f}",
                "" if gain is None else f"{gain.low:+.4f} to {gain.high:+.4f}",
                f"{run.counted.retrains}, {run.counted.promoted}",
                f"{run.counted.missed} of {run.counted.bad_periods}",
                *_means(result, run),
            ]
        )
    return [*_SHORT, *_business_metrics(result)], rows


def runs_table(run: PolicyRun) -> tuple[Sequence[str], list[list[str]]]:
    """Headings, and a row for each optimization of a policy."""
    rows = [
        [
            format_utc(one.at),
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


def replay_facts(result: BacktestResult) -> list[tuple[str, str]]:
    """The facts of the replay, by name."""
    if result.start is None or result.end is None:
        return []
    start, end = format_utc(result.start), format_utc(result.end)
    return [
        ("replayed", f"{start} to {end}, {result.rows:,} rows, step {result.step}"),
        ("learned from before", f"{result.learned_rows:,} rows"),
        ("labels come after", str(result.label_delay)),
        ("periods", f"{(result.period_s or 0) / 86_400:g} days each"),
        ("seed", str(result.seed)),
    ]


def format_utc(at: float) -> str:
    """A time in UTC, as a page and a plot can show it; the number where there is no such date."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return f"{at:g}"


def _business_metrics(result: BacktestResult) -> list[str]:
    """The model's own metrics, which are a mean a row."""
    return list(result.runs[0].business) if result.runs else []


def _means(result: BacktestResult, run: PolicyRun) -> list[str]:
    values = [run.business.get(name) for name in _business_metrics(result)]
    return ["" if value is None else f"{value:.5g}" for value in values]


def _policy_row(result: BacktestResult, run: PolicyRun) -> list[str]:
    counts, standing = run.counted, result.standing(run.name)
    gain = None if standing is None else standing.against_never
    return [
        run.name,
        "" if run.metric is None else f"{run.metric:.4f}",
        "" if gain is None else f"{gain.estimate:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})",
        "" if standing is None else f"{standing.best_in:.0%}",
        f"{counts.optimizations}",
        f"{counts.retrains}",
        f"{counts.promoted}",
        f"{counts.rejected}",
        f"{counts.missed} of {counts.bad_periods} bad",
        f"{counts.trials}",
        f"{counts.compute_s:.1f}",
    ]
