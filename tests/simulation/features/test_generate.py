"""Candidates come lazily, the most promising first, and none twice in other words."""

from itertools import islice

import numpy as np

from optagent.features.generate import (
    CandidateInputs,
    candidate_inputs,
    candidates,
    most_promising,
    without_name_clashes,
)
from optagent.features.screening_statistics import step_values
from optagent.training.steps import Calendar, Difference, GroupMean, Power, Product, Ratio, WindowSummary


def numbers(names: list[str], **fields) -> CandidateInputs:
    empty = frozenset()
    known = {"flags": empty, "categories": empty, "dates": empty, "one_signed": empty, **fields}
    return CandidateInputs(names=tuple(names), numbers=frozenset(names), **known)


def test_ten_million_combinations_cost_nothing_until_they_are_asked_for() -> None:
    names = [f"x{index}" for index in range(2_500)]
    assert len(list(islice(candidates(numbers(names), names), 1_000))) == 1_000


def test_the_most_promising_columns_are_combined_first() -> None:
    names = ["dull", "good", "best"]
    order = most_promising(names, np.array([0.0, 0.3, 0.7]))
    steps = list(candidates(numbers(names), order))
    assert order == ["best", "good", "dull"]
    assert steps[0] == Product("good", "best")
    assert all("dull" not in step.columns for step in steps[: len(steps) // 3])


def test_the_order_of_promise_does_not_change_what_a_candidate_is_called() -> None:
    names = ["a", "b", "c"]
    assert set(candidates(numbers(names), names)) == set(candidates(numbers(names), names[::-1]))


def test_trees_are_not_offered_what_ranks_rows_alike() -> None:
    inputs = numbers(["a", "b"], one_signed=frozenset({"a", "b"}))
    for_trees, for_lines = (set(candidates(inputs, ["a", "b"], flexible)) for flexible in (True, False))
    assert for_trees == {Product("a", "b"), Difference("a", "b"), Ratio("a", "b")}
    assert for_lines == for_trees | {Ratio("b", "a"), Power("a", 2), Power("a", 3), Power("b", 2), Power("b", 3)}


def test_each_kind_of_column_goes_only_where_it_makes_sense(make_data) -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack(
        [rng.normal(size=(100, 3)), rng.integers(0, 2, 100), rng.integers(0, 3, 100), 20_000 + rng.random(100)]
    )
    names = ("lag_1", "lag_2", "lag_3", "flag", "shop", "day")
    data = make_data(x, np.zeros(100), names=names, categorical=(4,), levels=(3,))
    steps = set(candidates(candidate_inputs(data, dates=["day"]), names))
    assert WindowSummary(("lag_1", "lag_2", "lag_3"), "mean") in steps
    assert Product("lag_1", "flag") in steps
    assert Ratio("lag_1", "flag") not in steps
    assert GroupMean("shop", "lag_1") in steps
    assert GroupMean("shop", "flag") not in steps
    assert Calendar("day", "weekday") in steps
    assert Product("lag_1", "day") not in steps
    assert not any({"shop", "day"} <= set(step.columns) for step in steps)


def test_columns_that_are_left_out_take_no_part_and_names_stay_unique(make_data) -> None:
    x = np.random.default_rng(0).normal(size=(50, 4))
    data = make_data(x, np.zeros(50), names=("a", "b", "c", "a * b"))
    inputs = candidate_inputs(data, left_out=["c"])
    steps = list(without_name_clashes(candidates(inputs, data.names), data.names))
    assert Product("a", "b") not in steps
    assert not any("c" in step.columns for step in steps)


def test_values_come_in_the_order_of_the_steps(make_data) -> None:
    data = make_data(np.array([[2.0, 4.0]] * 3), np.zeros(3), names=("a", "b"))
    values = step_values(data, [Difference("a", "b"), Product("a", "b"), Ratio("a", "b")])
    assert values.tolist() == [[-2.0] * 3, [8.0] * 3, [0.5] * 3]
