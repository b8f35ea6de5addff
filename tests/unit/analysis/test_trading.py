import numpy as np
import pytest

from optagent.analysis.trading import check_trading_rule, sharpe_interval, simulate_trades, trading_result
from optagent.domain.trading import Trading
from optagent.errors import InvalidRequest

ASSETS = np.array([0, 1, 0, 1, 0, 1])
DAYS = np.array([0.0, 0.0, 1.0, 1.0, 2.0, 2.0])
POSITION = np.array([1.0, 0.0, 1.0, -1.0, 0.0, -1.0])
RETURNS = np.array([0.02, 0.5, -0.01, 0.03, 0.9, -0.02])


def test_positions_earn_their_asset_s_return_and_pay_for_each_change() -> None:
    trades = simulate_trades(POSITION, RETURNS, DAYS, ASSETS, cost=0.001)
    np.testing.assert_allclose(trades.turnover, [0.5, 0.5, 0.5])  # in: the first; out: the second short; out: the first
    np.testing.assert_allclose(trades.net, [0.01 - 0.0005, -0.02 - 0.0005, 0.01 - 0.0005])
    np.testing.assert_allclose(trades.costs, [0.001] * 3)


def test_the_order_of_the_rows_does_not_matter_and_unknown_rows_are_left_out() -> None:
    shuffled = np.random.default_rng(0).permutation(6)
    before = simulate_trades(POSITION, RETURNS, DAYS, ASSETS, 0.01)
    after = simulate_trades(*(values[shuffled] for values in (POSITION, RETURNS, DAYS, ASSETS)), 0.01)
    np.testing.assert_allclose(after.net, before.net)
    unknown = np.append(RETURNS, np.nan)
    longer = simulate_trades(np.append(POSITION, 1.0), unknown, np.append(DAYS, 3.0), np.append(ASSETS, 0), 0.01)
    np.testing.assert_allclose(longer.net, before.net)


def test_one_asset_needs_no_name() -> None:
    trades = simulate_trades(np.array([1.0, 1.0, -1.0]), np.full(3, 0.01), np.arange(3.0), None, 0.01)
    np.testing.assert_allclose(trades.turnover, [1, 0, 2])
    np.testing.assert_allclose(trades.net, [0, 0.01, -0.03])


def test_the_figures_are_those_of_the_returns() -> None:
    trades = simulate_trades(np.ones(4), np.array([0.1, -0.2, -0.1, 0.3]), np.arange(4.0), None, 0.0)
    told = trading_result(trades, periods_a_year=4)
    assert told is not None
    assert (told.periods, told.trades, told.cost_a_trade, told.sharpe) == (4, 1, 0.0, None)
    assert (told.turnover, told.annual_return, told.drawdown) == pytest.approx((0.25, 0.1, 0.3))
    loss = simulate_trades(np.ones(2), np.array([-0.1, 0.0]), np.arange(2.0), None, 0.0)
    assert trading_result(loss, 4).drawdown == pytest.approx(0.1)  # type: ignore[union-attr]
    assert trading_result(simulate_trades(*[np.zeros(0)] * 3, None, 0.0), 4) is None


def test_the_ratio_is_annual_and_none_where_returns_never_change() -> None:
    net = np.random.default_rng(1).normal(0.001, 0.01, 300)
    interval = sharpe_interval(net, 252)
    assert interval is not None
    assert interval.estimate == pytest.approx(net.mean() / net.std() * 252**0.5)
    assert interval.low < interval.estimate < interval.high
    assert sharpe_interval(np.full(100, 0.01), 252) is None
    assert sharpe_interval(net[:19], 252) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"position": "where(", "returns": "r"}, "monitoring: trading: position: 'where\\('"),
        ({"position": "label", "returns": "r"}, r"position reads \['label'\], which are known only later"),
        ({"position": "y * 2", "returns": "r"}, r"position reads \['y'\]"),
        ({"position": "r > 0", "returns": "r * 2"}, r"position reads \['r'\]"),
        ({"position": " ", "returns": "r"}, "trading: position: an expression is needed"),
        ({"position": "1", "returns": "r", "cost": 1}, "cost must be at least 0 and below 1, got 1"),
        ({"position": "1", "returns": "r", "periods_a_year": 0}, "periods_a_year must be above 0 and finite, got 0"),
    ],
)
def test_a_rule_that_cannot_be_traded_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        check_trading_rule(Trading(**fields), "y")  # type: ignore[arg-type]
