"""Series of keyed rows: lags, rolling means and gaps of a table's rows, each from the rows before it alone."""

import numpy as np

from optagent.arrays import Codes, Matrix64, Vector
from optagent.training.history.plan import HistoryPlan


def history_matrix(plan: HistoryPlan, keys: Codes, time: Vector, values: Matrix64) -> Matrix64:
    """(rows, names of the plan): NaN where there is no history, as for rows without a key, whose code is negative.

    `values` (rows, columns of the plan) are missing where they are not finite. A row's past are the rows of its key
    with an earlier time. Rows of one time are in the order of their values, since files and networks have none. Means
    are of the values that are there, summed from the newest row to the oldest one, as in `served_history`.
    """
    values = np.where(np.isfinite(values), values, np.nan) + 0.0  # no negative zero, which sorts and sums otherwise
    order = np.lexsort((*values.T[::-1], time, keys))
    keys, time, values = keys[order], time[order], values[order]
    first_of_key, first_of_time = _first_places(keys, time)
    sorted_out = np.full((len(keys), len(plan.names)), np.nan)
    width = len(plan.lags) + len(plan.rolling)
    sums = np.zeros_like(values)
    counts = np.zeros(values.shape, dtype=np.int64)
    longest = max(plan.rolling, default=0)
    for back in range(1, plan.depth + 1):
        at = first_of_time - back
        exists = (at >= first_of_key) & (keys >= 0)
        if exists.any():
            row = np.where(exists[:, None], values[np.maximum(at, 0)], np.nan)
            if back in plan.lags:
                sorted_out[:, plan.lags.index(back) : -1 : width] = row
            if back <= longest:
                present = ~np.isnan(row)
                sums += np.where(present, row, 0.0)
                counts += present
        if back in plan.rolling:
            place = len(plan.lags) + plan.rolling.index(back)
            sorted_out[:, place:-1:width] = _means(sums, counts)
    before = first_of_time - 1
    exists = (before >= first_of_key) & (keys >= 0)
    sorted_out[exists, -1] = time[exists] - time[before[exists]]
    out = np.empty_like(sorted_out)
    out[order] = sorted_out
    return out


def _first_places(keys: Codes, time: Vector) -> tuple[Codes, Codes]:
    """(rows,) the places of the first row of each row's key, and of the first one of its key and time."""
    places = np.arange(len(keys))
    new_key = np.ones(len(keys), dtype=np.bool_)
    new_key[1:] = keys[1:] != keys[:-1]
    new_time = new_key.copy()
    new_time[1:] |= time[1:] != time[:-1]
    return (
        np.maximum.accumulate(np.where(new_key, places, 0)),
        np.maximum.accumulate(np.where(new_time, places, 0)),
    )


def _means(sums: Matrix64, counts: np.ndarray) -> Matrix64:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
