"""Backtest tables: the policies of a backtest compared, as the page and the terminal show them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

from optagent.domain.backtest import BacktestResult
from optagent.domain.policy_run import PolicyRun

_HEADINGS = (
    "policy",
    "metric",
    "against never",
    "best in",
    "runs",
    "retrained",
    "passed gates",
    "promoted",
    "days to it",
    "under way",
    "no proof",
    "rolled back",
    "missed periods",
    "trials",
    "compute s",
)
_SHORT = ("policy", "metric", "against never", "trained, passed, promoted", "under way", "days", "missed")
_TRADING = ("Sharpe a year", "drawdown", "return a year", "turnover", "trades", "cost a trade")
_TRADING_SHOWN = 4
_RUNS = ("when", "trigger", "why it ran", "status", "version", "champion since", "window", "why not")


def policies_table(result: BacktestResult) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each policy."""
    trading = _TRADING if _trades(result) else ()
    return [*_HEADINGS, *_business_metrics(result), *trading], [
        [*_policy_row(result, run), *_means(result, run), *_trading_cells(run)[: len(trading)]] for run in result.runs
    ]


def short_policies_table(result: BacktestResult) -> tuple[list[str], list[list[str]]]:
    """The same table with fewer columns, so that it fits a terminal."""
    rows, trading = [], _TRADING[:_TRADING_SHOWN] if _trades(result) else ()
    for run in result.runs:
        standing = result.standing(run.name)
        gain = None if standing is None else standing.against_never
        rows.append(
            [
                run.name,
                "" if run.metric is None else f"{run.metric:.4f}",
                "" if gain is None else f"{gain.low:+.4f} to {gain.high:+.4f}",
                ", ".join(_over_seeds(run, name) for name in ("retrains", "passed", "promoted")),
                _over_seeds(run, "under_way"),
                _days_text(run),
                f"{_over_seeds(run, 'missed')} of {_over_seeds(run, 'bad_periods')}",
                *_means(result, run),
                *_trading_cells(run)[: len(trading)],
            ]
        )
    return [*_SHORT, *_business_metrics(result), *trading], rows


def runs_table(run: PolicyRun) -> tuple[Sequence[str], list[list[str]]]:
    """Headings, and a row for each optimization of a policy."""
    rows = [
        [
            format_utc(one.at),
            one.trigger,
            one.reason,
            "promoted" if one.promoted else one.rollout or one.status,
            one.version or "",
            "" if one.promoted_at is None else format_utc(one.promoted_at),
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
        ("seed", str(result.seed) if result.seeds == 1 else f"{result.seed} and the next {result.seeds - 1}"),
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


def _trades(result: BacktestResult) -> bool:
    return any(run.trading is not None for run in result.runs)


def _trading_cells(run: PolicyRun) -> list[str]:
    """The figures of a policy's trades, under the headings of `_TRADING`."""
    trading = run.trading
    if trading is None:
        return [""] * len(_TRADING)
    ratio = trading.sharpe
    return [
        "" if ratio is None else f"{ratio.estimate:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
        f"{trading.drawdown:.1%}",
        f"{trading.annual_return:.1%}",
        f"{trading.turnover:.3g}",
        str(trading.trades),
        f"{trading.cost_a_trade:.3%}",
    ]


def _policy_row(result: BacktestResult, run: PolicyRun) -> list[str]:
    standing = result.standing(run.name)
    gain = None if standing is None else standing.against_never
    return [
        run.name,
        "" if run.metric is None else f"{run.metric:.4f}",
        "" if gain is None else f"{gain.estimate:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})",
        "" if standing is None else f"{standing.best_in:.0%}",
        *(_over_seeds(run, name) for name in ("optimizations", "retrains", "passed", "promoted")),
        _days_text(run),
        *(_over_seeds(run, name) for name in ("under_way", "inconclusive", "rolled_back")),
        f"{_over_seeds(run, 'missed')} of {_over_seeds(run, 'bad_periods')} bad",
        _over_seeds(run, "trials"),
        f"{sum(counts.compute_s for counts in run.counts_by_seed):.1f}",
    ]


def _over_seeds(run: PolicyRun, name: str) -> str:
    """A count, or its least and most over the seeds; empty where an older version did not count it."""
    counts = [getattr(each, name) for each in run.counts_by_seed]
    if None in counts:
        return ""
    return f"{counts[0]}" if len(set(counts)) == 1 else f"{min(counts)}-{max(counts)}"


def _days_text(run: PolicyRun) -> str:
    """The days from gate to champion, the median of each seed's; empty where nothing was promoted."""
    days = [each.days_to_promotion for each in run.counts_by_seed if each.days_to_promotion is not None]
    return f"{median(days):.3g}" if days else ""
