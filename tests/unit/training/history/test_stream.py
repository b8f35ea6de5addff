import numpy as np
import pyarrow as pa

from optagent.training.history.plan import HistoryPlan
from optagent.training.history.stream import StreamedHistory
from optagent.training.history.table import with_history

PLAN = HistoryPlan("day", ("price",), "shop", lags=(1, 3), rolling=(2, 5), numeric_time=True)


def rows_of(count: int = 120, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    shops = rng.choice(["a", "b", "c", None], count, p=[0.4, 0.3, 0.2, 0.1])
    return pa.table({"shop": shops, "day": np.sort(rng.integers(0, 200, count)), "price": rng.normal(size=count)})


def streamed(earlier: pa.Table, rows: pa.Table, size: int) -> tuple[pa.Table, int]:
    stream = StreamedHistory(PLAN, earlier)
    parts = [stream.extend(rows.slice(start, size)) for start in range(0, rows.num_rows, size)]
    return pa.concat_tables(parts).combine_chunks(), stream.late


def test_a_stream_in_time_order_has_the_history_of_one_table_whatever_its_parts():
    rows = rows_of()
    cut = int(np.searchsorted(rows["day"].to_numpy(), 90))
    whole = with_history(rows, PLAN).slice(cut).combine_chunks()
    for size in (5, 1000):
        extended, _ = streamed(rows.slice(0, cut), rows.slice(cut), size)
        for name in PLAN.names:
            np.testing.assert_array_equal(extended[name].to_numpy(), whole[name].to_numpy())


def test_rows_that_the_stream_repeats_count_once():
    rows = rows_of()
    extended, late = streamed(rows, rows, 50)
    assert late == 0
    assert extended.equals(with_history(rows, PLAN).combine_chunks())


def test_rows_that_come_late_are_counted_and_see_what_is_older_than_they_are():
    rows = pa.table({"shop": ["a", "a", "a"], "day": [1, 5, 3], "price": [1.0, 2.0, 4.0]})
    extended, late = streamed(rows.slice(0, 0), rows, 1)
    assert late == 1
    assert extended["price lag 1"].to_pylist() == [None, 1.0, 1.0]
    assert extended["time since the row before"].to_pylist() == [None, 4.0, 2.0]


def test_an_empty_table_gets_the_columns():
    stream = StreamedHistory(PLAN, rows_of())
    assert stream.extend(rows_of().slice(0, 0)).column_names[3:] == list(PLAN.names)
