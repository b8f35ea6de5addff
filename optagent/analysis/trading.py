"""Trading figures: returns after costs by period, and turnover, drawdown and the annual Sharpe ratio with its interval.

The interval is by the block bootstrap, whose blocks follow the memory of the returns: an interval for independent
normal returns is too narrow where there is memory (Lo 2002, The statistics of Sharpe ratios, Financial Analysts Journal
58) or heavy tails (Ledoit and Wolf 2008, Robust performance hypothesis testing with the Sharpe ratio, Journal of
Empirical Finance 15).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optagent.analysis.bootstrap import Resampling, bootstrap_interval
from optagent.analysis.expression import compile_expression
from optagent.arrays import Codes, Multiplicities, Prediction, Vector
from optagent.domain.study import Interval
from optagent.domain.trading import Trading
from optagent.domain.trading_result import TradingResult
from optagent.errors import InvalidData, InvalidRequest

LEAST_PERIODS = 20
"""Fewer periods give no interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Trades:
    """(periods,) returns after costs and amounts that change hands, and (trades,) costs of each position's change."""

    net: Vector
    turnover: Vector
    costs: Vector


def simulate_trades(position: Vector, returns: Vector, time: Vector, asset: Codes | None, cost: float) -> Trades:
    """The trades of (rows,) positions that earn (rows,) `returns` until the asset's next row.

    Assets begin without a position; what is held at the end is not sold. A period is a distinct time, in which the
    capital is spread evenly over the assets that have a row. Rows without a position or a return are left out.
    """
    known = np.flatnonzero(np.isfinite(position) & np.isfinite(returns))
    assets = np.zeros(len(known), dtype=np.int64) if asset is None else asset[known]
    order = np.lexsort((time[known], assets))
    held, owner = position[known][order], assets[order]
    before = np.concatenate([[0.0], held[:-1]])
    before[np.flatnonzero(np.diff(owner, prepend=-1))] = 0.0
    traded = np.abs(held - before)
    _, period = np.unique(time[known][order], return_inverse=True)
    rows = np.bincount(period)
    net = np.bincount(period, held * returns[known][order] - cost * traded) / rows
    return Trades(net, np.bincount(period, traded) / rows, cost * traded[traded > 0])


def check_trading_rule(rule: Trading, target: str) -> None:
    """Raises InvalidRequest for an expression that is none, and for a position that reads the answer to come."""
    for name, text in (("position", rule.position), ("returns", rule.returns)):
        try:
            names = compile_expression(text).names
        except InvalidRequest as error:
            raise InvalidRequest(f"monitoring: trading: {name}: {error}") from None
        if name == "position":
            future = sorted({"label", target, *compile_expression(rule.returns).names} & set(names))
            if future:
                raise InvalidRequest(f"monitoring: trading: position reads {future}, which are known only later")


def trading_result(trades: Trades, periods_a_year: float, alpha: float = 0.05, seed: int = 0) -> TradingResult | None:
    """The figures of these trades; None without a period."""
    if not len(trades.net):
        return None
    wealth = np.concatenate([[0.0], np.cumsum(trades.net)])
    return TradingResult(
        periods=len(trades.net),
        trades=len(trades.costs),
        turnover=float(trades.turnover.mean()),
        cost_a_trade=float(trades.costs.mean()) if len(trades.costs) else 0.0,
        annual_return=float(trades.net.mean()) * periods_a_year,
        drawdown=float((np.maximum.accumulate(wealth) - wealth).max()),
        sharpe=sharpe_interval(trades.net, periods_a_year, alpha, seed),
    )


def sharpe_interval(net: Vector, periods_a_year: float, alpha: float = 0.05, seed: int = 0) -> Interval | None:
    """The annual Sharpe ratio of (periods,) returns with its interval, None where it has none."""
    if len(net) < LEAST_PERIODS or np.ptp(net) <= 1e-12 * np.abs(net).max():
        return None
    scale = math.sqrt(periods_a_year)

    def score(_: Vector, values: Prediction) -> float:
        return float(values.mean() / values.std()) * scale

    def score_resamples(_: Vector, values: Prediction) -> Callable[[Multiplicities], Vector]:
        def ratios(counts: Multiplicities) -> Vector:
            total = counts.sum(axis=1)
            mean = counts @ values / total
            spread = np.sqrt(np.maximum(counts @ values**2 / total - mean**2, 0.0))
            return scale * np.divide(mean, spread, out=np.full(len(mean), np.nan), where=spread > 0)

        return ratios

    try:
        return bootstrap_interval(score, net, net, alpha, Resampling(seed=seed, time_ordered=True), score_resamples)
    except InvalidData:  # a ratio is undefined on too many resamples
        return None
