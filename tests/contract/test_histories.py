import numpy as np
import pytest

from optagent.adapters.state.redis.histories import RedisHistories
from optagent.errors import Unavailable
from optagent.ports import Histories
from optagent.training.history.plan import HistoryPlan
from optagent.training.history.series import history_matrix
from optagent.training.history.state import kept_rows, past_row, served_history

PLAN = HistoryPlan("t", ("a", "b"), "k", lags=(1, 3), rolling=(2, 5))
NAN = float("nan")


async def test_a_series_without_rows_has_no_past(histories: Histories):
    (past,) = await histories.pasts("sales", PLAN, [("x", 1e9)])
    assert (past.time.shape, past.values.shape, past.whole) == ((0,), (0, 2), True)


async def test_the_past_has_earlier_rows_of_the_series_the_newest_first_and_ties_are_not_among_them(
    histories: Histories,
):
    rows = [("x", past_row(3.0, [-0.5, NAN], "c")), ("x", past_row(1.0, [1e300, -2.0], "a"))]
    rows += [("é", past_row(2.0, [9.0, 9.0], "b")), ("x", past_row(3.0, [-1.5, 0.0], "d"))]
    await histories.keep("sales", PLAN, rows)
    late, early = await histories.pasts("sales", PLAN, [("x", 4.0), ("x", 3.0)])
    np.testing.assert_array_equal(late.time, [3.0, 3.0, 1.0])
    np.testing.assert_array_equal(late.values, [[-0.5, NAN], [-1.5, 0.0], [1e300, -2.0]])
    np.testing.assert_array_equal(early.values, [[1e300, -2.0]])
    (other,) = await histories.pasts("other", PLAN, [("x", 4.0)])
    assert not len(other.time)


async def test_a_row_that_is_kept_again_counts_once(histories: Histories):
    for time, number in ((1.0, 1.0), (2.0, 2.0)):
        await histories.keep("sales", PLAN, [("x", past_row(time, [number, number], "same"))])
    (past,) = await histories.pasts("sales", PLAN, [("x", 9.0)])
    np.testing.assert_array_equal(past.values, [[1.0, 1.0]])


async def test_the_oldest_rows_of_a_long_series_go_and_a_late_row_that_needs_them_is_told(histories: Histories):
    count = kept_rows(PLAN) + 5
    await histories.keep("sales", PLAN, [("x", past_row(float(at), [1.0, 1.0], str(at))) for at in range(count)])
    newest, late = await histories.pasts("sales", PLAN, [("x", 1e9), ("x", 7.0)])
    assert (newest.whole, len(newest.time)) == (True, PLAN.depth)
    assert (late.whole, late.time.tolist()) == (False, [6.0, 5.0])


async def test_series_that_were_written_longest_ago_go_first_where_there_are_too_many_rows(histories: Histories):
    for series in ("old", "new"):
        rows = [(f"{series} {at}", past_row(1.0, [1.0, 1.0], f"{at}")) for at in range(150)]
        await histories.keep("sales", PLAN, rows[:100])
        await histories.keep("sales", PLAN, rows[100:])
    asked = [(f"{series} {at}", 2.0) for series in ("old", "new") for at in range(150)]
    held = [len(past.time) for past in await histories.pasts("sales", PLAN, asked)]
    assert sum(held) == 200
    assert sum(held[150:]) == 150


async def test_rows_that_come_late_and_in_bursts_give_bit_for_bit_what_the_table_of_them_gives(histories: Histories):
    rng = np.random.default_rng(0)
    count = 60
    keys, times = rng.integers(0, 3, count), rng.integers(0, 30, count).astype(float)
    values = np.where(rng.random((count, 2)) < 0.2, NAN, rng.normal(size=(count, 2)) * 1e3)
    plan = HistoryPlan("t", ("a", "b"), "k", lags=(1, 7), rolling=(3, 30))
    for start in range(0, count, 4):
        burst = range(start, start + 4)
        asked = [(str(keys[at]), float(times[at])) for at in burst]
        for at, past in zip(burst, await histories.pasts("sales", plan, asked), strict=True):
            arrived = [*range(start), at]
            table = history_matrix(plan, keys[arrived], times[arrived], values[arrived])
            assert served_history(plan, past, float(times[at])).tobytes() == table[-1].tobytes()
        rows = [(str(keys[at]), past_row(float(times[at]), values[at].tolist(), str(at))) for at in burst]
        await histories.keep("sales", plan, rows)


async def test_seeding_is_noted_by_plan(histories: Histories):
    assert not await histories.is_seeded("sales", PLAN)
    await histories.mark_seeded("sales", PLAN)
    assert await histories.is_seeded("sales", PLAN)
    assert not await histories.is_seeded("sales", HistoryPlan("t", ("a",), "k", lags=(1,)))


async def test_redis_that_is_away_is_unavailable_at_once():
    histories = RedisHistories("redis://127.0.0.1:1")
    with pytest.raises(Unavailable, match="does not give the history"):
        await histories.pasts("sales", PLAN, [("x", 1.0)])
    await histories.close()
