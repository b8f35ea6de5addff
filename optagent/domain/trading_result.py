"""Trading result: how the trades that a model's answers stand for went."""

from dataclasses import dataclass

from optagent.domain.study import Interval


@dataclass(frozen=True, slots=True)
class TradingResult:
    """The trades of a history, all as shares of a capital that stays the same and is spread evenly over the assets.

    `turnover` is the mean amount that changes hands in a period, `trades` how often a position changed, `cost_a_trade`
    the mean cost of one as a share of its asset's capital. `annual_return` is after costs, without reinvestment.
    `drawdown` is the deepest fall of the sum of returns below its highest point. `sharpe` is annual, by the square root
    of the periods, with its interval; None for too few periods, and for returns that never change.
    """

    periods: int
    trades: int
    turnover: float
    cost_a_trade: float
    annual_return: float
    drawdown: float
    sharpe: Interval | None = None
