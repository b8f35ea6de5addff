import numpy as np
import pytest

from optagent.training.history.plan import HistoryPlan
from optagent.training.history.series import history_matrix
from optagent.training.history.state import PastRow, SeriesState, kept_rows, past_row, served_history

PLAN = HistoryPlan("t", ("a", "b"), "k", lags=(3, 1), rolling=(7, 2))
Arrival = tuple[int, float, list[float], str]


def rows_of(seed: int, count: int = 60, keys: int = 3) -> list[Arrival]:
    """Rows of some keys with tied times and missing values."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        numbers = np.where(rng.random(2) < 0.2, np.nan, rng.normal(size=2) * 1e3)
        rows.append((int(rng.integers(keys)), float(rng.integers(count // 2)), numbers.tolist(), str(number)))
    return rows


def table_history(plan: HistoryPlan, rows: list[Arrival]) -> np.ndarray:
    keys, times, numbers, _ = zip(*rows, strict=True)
    return history_matrix(plan, np.array(keys), np.array(times), np.array(numbers))


def served_rows(plan: HistoryPlan, rows: list[Arrival], burst: int = 1, keep: int = 200) -> list[np.ndarray]:
    """The history of each row as served, where the rows of a burst are answered before any of them is kept."""
    states: dict[int, SeriesState] = {}
    served = []
    for start in range(0, len(rows), burst):
        for key, time, _, _ in rows[start : start + burst]:
            past = states.setdefault(key, SeriesState(keep)).before(time, plan)
            served.append(served_history(plan, past, time))
        for key, time, numbers, row_id in rows[start : start + burst]:
            states[key].add(past_row(time, numbers, row_id))
            states[key].add(past_row(time, numbers, row_id))  # a retry, which counts once
    return served


@pytest.mark.parametrize("burst", [1, 7])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", ["in time", "late"])
def test_served_rows_have_bit_for_bit_the_history_that_the_table_of_what_had_arrived_gives(
    order: str, seed: int, burst: int
) -> None:
    rows = rows_of(seed)
    if order == "in time":
        rows.sort(key=lambda row: row[1])
    for number, served in enumerate(served_rows(PLAN, rows, burst)):
        arrived = [*rows[: number // burst * burst], rows[number]]
        assert served.tobytes() == table_history(PLAN, arrived)[-1].tobytes()


def test_rows_in_time_order_are_served_what_the_whole_table_gives() -> None:
    rows = sorted({row[1]: row for row in rows_of(1, 200, 1)}.values(), key=lambda row: row[1])
    np.testing.assert_array_equal(np.array(served_rows(PLAN, rows)), table_history(PLAN, rows))


def test_the_numbers_are_those_of_earlier_rows_of_the_key_and_ties_do_not_see_each_other() -> None:
    plan = HistoryPlan("t", ("a",), "k", lags=(1, 2), rolling=(2,))
    rows: list[Arrival] = [(0, 1.0, [10.0], "a"), (1, 1.5, [99.0], "b"), (0, 2.0, [20.0], "c"), (0, 2.0, [40.0], "d")]
    rows.append((0, 5.0, [0.0], "e"))
    nothing = [np.nan] * 4
    expected = [nothing, nothing, [10, np.nan, 10, 1], [10, np.nan, 10, 1], [40, 20, 30, 3]]
    np.testing.assert_array_equal(table_history(plan, rows), expected)


def test_later_rows_and_the_order_of_the_file_change_nothing() -> None:
    rows = rows_of(5, 200)
    history = table_history(PLAN, rows)
    cut = 50.0
    changed = [row if row[1] < cut else (row[0], row[1], [1e6, -1e6], row[3]) for row in rows]
    early = np.array([row[1] <= cut for row in rows])
    np.testing.assert_array_equal(table_history(PLAN, changed)[early], history[early])
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_array_equal(table_history(PLAN, [rows[at] for at in order]), history[order])


def test_rows_without_a_key_have_no_past_and_are_no_past() -> None:
    rows: list[Arrival] = [(-1, 1.0, [1.0, 1.0], "a"), (-1, 2.0, [1.0, 1.0], "b"), (0, 3.0, [1.0, 1.0], "c")]
    assert np.isnan(table_history(PLAN, rows)).all()


def test_a_window_beyond_the_rows_that_are_kept_is_missing_instead_of_wrong() -> None:
    state = SeriesState(keep=3)
    for time in range(1, 6):
        state.add(PastRow(float(time), (float(time), None), str(time)))
    plan = HistoryPlan("t", ("a", "b"), lags=(1,), rolling=(2, 3))
    newest = served_history(plan, state.before(9.0, plan), 9.0)
    late = served_history(plan, state.before(5.0, plan), 5.0)
    np.testing.assert_array_equal(newest, [5.0, 4.5, 4.0, np.nan, np.nan, np.nan, 4.0])
    np.testing.assert_array_equal(late, [4.0, 3.5, np.nan, np.nan, np.nan, np.nan, 1.0])
    assert (kept_rows(plan), kept_rows(PLAN), kept_rows(HistoryPlan("t", ("a",), lags=(30,)))) == (19, 23, 60)
