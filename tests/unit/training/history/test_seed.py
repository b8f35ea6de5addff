import numpy as np
import pyarrow as pa

from optagent.training.history.plan import HistoryPlan
from optagent.training.history.seed import seed_rows
from optagent.training.history.state import SeriesState, kept_rows, served_history
from optagent.training.history.table import with_history

PLAN = HistoryPlan("day", ("price",), "shop", lags=(1,), rolling=(3,), numeric_time=True)


def test_seeded_series_give_the_next_rows_what_the_whole_table_gives() -> None:
    rng = np.random.default_rng(0)
    shops = rng.choice(["a", "b", None], 200)
    rows = pa.table({"shop": shops, "day": rng.integers(0, 90, 200), "price": rng.integers(0, 3, 200)})
    states = {name: SeriesState(kept_rows(PLAN)) for name in ("a", "b")}
    seeds = [seed for _ in range(2) for part in seed_rows(PLAN, rows) for seed in part]
    for name, row in seeds:  # twice, of which the second changes nothing
        states[name].add(row)
    assert {len(state) for state in states.values()} == {kept_rows(PLAN)}
    following = pa.table({"shop": ["a", "b"], "day": [95, 95], "price": [1, 1]})
    whole = with_history(pa.concat_tables([rows, following]), PLAN).slice(200)
    for at, name in enumerate(("a", "b")):
        served = served_history(PLAN, states[name].before(95.0, PLAN), 95.0)
        np.testing.assert_array_equal(served, [whole[column][at].as_py() for column in PLAN.names])


def test_rows_come_the_oldest_first_so_that_the_series_that_are_in_use_were_written_last() -> None:
    rows = pa.table({"shop": ["a", "b", "a"], "day": [3.0, 2.0, 1.0], "price": [1.0, 2.0, 3.0]})
    (part,) = seed_rows(PLAN, rows)
    assert [(name, row.time) for name, row in part] == [("a", 1.0), ("b", 2.0), ("a", 3.0)]
