"""Trades of a backtest: the positions that a policy's answers take over the history, and how they went."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.analysis.expression import compile_expression
from optagent.analysis.trading import simulate_trades, trading_result
from optagent.arrays import Codes, Prediction
from optagent.backtest.history import History, expression_columns
from optagent.domain.trading import Trading
from optagent.domain.trading_result import TradingResult
from optagent.training.columns import require_columns


def trading_of(history: History, prediction: Prediction, rule: Trading | None, seed: int = 0) -> TradingResult | None:
    """The trades over the rows from `first` on, for which `prediction` holds the predictions; None without a rule.

    Raises InvalidRequest for an expression that reads a column missing from the history, InvalidData for an asset's.
    """
    if rule is None:
        return None
    columns = expression_columns(history, prediction)
    position, returns = (compile_expression(text)(columns) for text in (rule.position, rule.returns))
    rows = slice(history.first, history.first + len(prediction))
    trades = simulate_trades(position, returns, history.time[rows], _assets(history, rule, rows), rule.cost)
    return trading_result(trades, rule.periods_a_year, seed=seed)


def check_trading(history: History) -> None:
    """Raises InvalidRequest or InvalidData for a rule that reads a column missing from the history."""
    monitoring = history.spec.monitoring
    classes = max(1, len(history.schema.classes))
    none = np.zeros(1) if classes < 3 else np.full((1, classes), 1 / classes)
    trading_of(replace(history, first=0), none, monitoring.trading if monitoring else None)


def _assets(history: History, rule: Trading, rows: slice) -> Codes | None:
    """(rows,) numbers of the assets; rows without a name are of one."""
    if rule.asset is None:
        return None
    require_columns([rule.asset], history.table.schema.names, "trading: asset")
    values = history.table.column(rule.asset)
    if pa.types.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    codes = pc.dictionary_encode(values).unify_dictionaries().combine_chunks().indices
    return np.asarray(codes.fill_null(-1), dtype=np.int64)[rows] + 1
