import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.analysis.label_join import (
    CountedRows,
    JoinedLabels,
    Labels,
    count_orphans,
    deduplicate_rows,
    join_labels,
    sample_by_id,
)


def predictions(*rows: tuple[Any, ...], **columns: Any) -> pa.Table:
    """Rows of (id, second, value)."""
    ids, seconds, values = zip(*rows, strict=True) if rows else ((), (), ())
    time = pa.array([None if second is None else second * 1_000_000 for second in seconds], pa.int64())
    return pa.table(
        {"id": pa.array(ids, pa.string()), "time": time.cast(pa.timestamp("us", "UTC")), "value": list(values)}
        | columns
    )


def labels(*rows: tuple[str, int, float | None]) -> Labels:
    """Rows of (id, second, y), where None is an unusable label."""
    return Labels(
        ids=pa.array([row[0] for row in rows], pa.large_string()),
        time_us=np.array([row[1] for row in rows], dtype=np.int64) * 1_000_000,
        y=np.array([np.nan if row[2] is None else row[2] for row in rows], dtype=np.float64),
        unusable=np.array([row[2] is None for row in rows], dtype=np.bool_),
    )


def values_of(chosen: CountedRows, tables: list[pa.Table]) -> list[Any]:
    return [
        tables[table].column("value")[int(row)].as_py() for table, row in zip(chosen.table, chosen.row, strict=True)
    ]


def join(*rows: tuple[str, int, float | None], ids: str = "ab") -> JoinedLabels:
    """Labels of the predictions a, b … that were made at second 10."""
    return join_labels(pa.array(list(ids), pa.large_string()), np.full(len(ids), 10_000_000), labels(*rows))


def test_rows_come_in_the_order_of_time_and_of_equal_times_by_id() -> None:
    tables = [predictions(("c", 2, 0), ("b", 1, 0)), predictions(("a", 2, 0))]
    assert deduplicate_rows(tables).ids.to_pylist() == ["b", "a", "c"]


def test_a_row_that_came_twice_counts_once() -> None:
    tables = [predictions(("a", 1, 5), ("b", 1, 6)), predictions(("a", 1, 5))]
    chosen = deduplicate_rows(tables)
    assert values_of(chosen, tables) == [5, 6]
    assert chosen.copies.tolist() == [1, 0]


def test_of_different_rows_of_one_id_the_earliest_counts() -> None:
    tables = [predictions(("a", 3, 5), ("a", 1, 7)), predictions(("a", 2, 6))]
    chosen = deduplicate_rows(tables)
    assert values_of(chosen, tables) == [7]
    assert chosen.copies.tolist() == [2]


def test_of_different_rows_of_one_instant_it_is_always_the_same_that_counts() -> None:
    rows = [("a", 1, value) for value in (5.0, 6.0, None, -0.0)]
    contents = set()
    for order in itertools.permutations(rows):
        tables = [predictions(*order[:2]), predictions(*order[2:])]
        contents.add(str(values_of(deduplicate_rows(tables), tables)))
    assert len(contents) == 1


def test_the_type_and_the_order_of_columns_do_not_make_another_row() -> None:
    one, other = predictions(("a", 1, 5), text=["x"]), predictions(("a", 1, 5.0), text=["x"])
    other = other.select(["text", "value", "time", "id"])
    other = other.set_column(0, "text", other.column("text").dictionary_encode())
    rows = [one, other, predictions(("a", 1, 6), text=["x"])]
    contents = {values_of(deduplicate_rows(list(order)), list(order))[0] for order in itertools.permutations(rows)}
    assert len(contents) == 1


def test_rows_of_any_type_can_be_told_apart() -> None:
    tables = [predictions(("a", 1, [1])), predictions(("a", 1, {"x": 1})), predictions(("a", 1, True))]
    contents = {str(values_of(deduplicate_rows(list(order)), list(order))) for order in itertools.permutations(tables)}
    assert len(contents) == 1


def test_rows_without_an_id_or_a_time_are_left_out() -> None:
    assert deduplicate_rows([predictions((None, 1, 0), ("a", None, 0), ("b", 1, 0))]).ids.to_pylist() == ["b"]


def test_only_the_rows_to_keep_are_chosen_from() -> None:
    tables = [predictions(("a", 1, 5)), predictions(("a", 2, 6))]
    chosen = deduplicate_rows(tables, [np.array([False]), np.array([True])])
    assert values_of(chosen, tables) == [6]
    assert chosen.copies.tolist() == [0]


@pytest.mark.parametrize("tables", [[], [predictions()]])
def test_no_rows_are_an_empty_choice(tables: list[pa.Table]) -> None:
    assert len(deduplicate_rows(tables)) == 0


def test_a_thinned_choice_has_the_same_ids_whatever_else_there_is() -> None:
    rows = [(f"id{index}", index, 0) for index in range(200)]
    half = sample_by_id(deduplicate_rows([predictions(*rows)]), 100)
    again = sample_by_id(deduplicate_rows([predictions(*reversed(rows))]), 100)
    assert half.ids.to_pylist() == again.ids.to_pylist()
    assert (np.diff(half.time_us) > 0).all()
    assert set(sample_by_id(deduplicate_rows([predictions(*rows)]), 10).ids.to_pylist()) <= set(half.ids.to_pylist())


def test_a_label_is_joined_by_id() -> None:
    result = join(("b", 20, 1.0), ("zzz", 20, 1.0))
    np.testing.assert_array_equal(result.y, [np.nan, 1])


def test_a_later_label_is_a_correction() -> None:
    result = join(("a", 30, 0.0), ("a", 20, 1.0), ids="a")
    assert (result.y[0], result.conflicting[0], result.copies[0]) == (0, False, 0)


def test_a_label_that_came_twice_counts_once() -> None:
    result = join(("a", 20, 1.0), ("b", 20, 0.0), ("a", 20, 1.0))
    assert result.y.tolist() == [1, 0]
    assert result.copies.tolist() == [1, 0]


def test_two_labels_of_one_instant_that_differ_are_both_left_out() -> None:
    result = join(("a", 20, 1.0), ("a", 20, 0.0), ("a", 20, 1.0), ("b", 20, 1.0))
    np.testing.assert_array_equal(result.y, [np.nan, 1])
    assert result.conflicting.tolist() == [True, False]


def test_a_conflict_is_settled_by_a_later_label() -> None:
    result = join(("a", 20, 1.0), ("a", 20, 0.0), ("a", 21, 1.0), ids="a")
    assert (result.y[0], result.conflicting[0]) == (1, False)


def test_a_label_of_before_its_prediction_is_used_and_said() -> None:
    result = join(("a", 9, 1.0), ("b", 10, 1.0))
    assert result.y.tolist() == [1, 1]
    assert result.skewed.tolist() == [True, False]


def test_a_correction_that_cannot_be_used_leaves_no_label() -> None:
    result = join(("a", 20, 1.0), ("a", 30, None), ids="a")
    assert np.isnan(result.y[0])
    assert result.unusable.tolist() == [True]


def test_labels_with_other_outcomes_differ() -> None:
    both = labels(("a", 20, 1.0), ("a", 20, 1.0))
    twice = Labels(both.ids, both.time_us, both.y, both.unusable, {"profit": np.array([5.0, 6.0])})
    assert join_labels(pa.array(["a"], pa.large_string()), np.array([0]), twice).conflicting.tolist() == [True]


def test_orphans_are_counted_by_id() -> None:
    ids = pa.array(["a", "x", "x", "y", None], pa.large_string())
    assert count_orphans(ids, [predictions(("a", 1, 0))]) == 2
    assert count_orphans(ids, []) == 3


IDS = st.sampled_from(["a", "b", "c", "d"])
LABELS = st.tuples(IDS, st.integers(8, 12), st.sampled_from([0.0, 1.0, None]))


@settings(max_examples=40, deadline=None)
@given(st.lists(LABELS, max_size=12), st.randoms(use_true_random=False))
def test_neither_order_nor_copies_of_labels_matter(rows: list[Any], random: Any) -> None:
    again = [*rows, *random.sample(rows, len(rows) // 2)]
    random.shuffle(again)
    one, other = join(*rows, ids="abc"), join(*again, ids="abc")
    np.testing.assert_array_equal(one.y, other.y)
    for name in ("unusable", "conflicting", "skewed"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
    assert other.copies.sum() >= one.copies.sum()


ROWS = st.tuples(IDS, st.integers(0, 2), st.sampled_from([None, 0, 1]))


@settings(max_examples=40, deadline=None)
@given(st.lists(ROWS, max_size=12), st.randoms(use_true_random=False), st.integers(0, 12))
def test_neither_order_nor_batches_nor_copies_of_rows_matter(rows: list[Any], random: Any, cut: int) -> None:
    again = [*rows, *random.sample(rows, len(rows) // 2)]
    random.shuffle(again)
    one = [predictions(*rows)]
    other = [predictions(*again[:cut]), predictions(*((row[0], row[1], row[2]) for row in again[cut:]))]
    chosen, also = deduplicate_rows(one), deduplicate_rows(other)
    assert chosen.ids.to_pylist() == also.ids.to_pylist()
    assert chosen.time_us.tolist() == also.time_us.tolist()
    assert values_of(chosen, one) == values_of(also, other)
