"""Greedy coverage chooses what helps the tables that nothing chosen before has helped."""

import numpy as np

from optagent.domain.model import Task
from optagent.training.families.registry import FAMILIES
from tests.performance.automl.candidates import candidates_of
from tests.performance.automl.coverage import choose_in_family, choose_points, normalise, regret

# Of two tables: candidate 1 is good for the first, 2 nearly as good for it, 3 good for the second.
TREES = np.array([[1.0, 0.0, 0.1, 1.0], [1.0, 1.0, 1.0, 0.2]])
COST = np.ones(4)


def test_the_next_one_is_good_where_the_last_was_not():
    assert choose_in_family(TREES, COST, 2) == [1, 3]


def test_of_equals_the_faster_one_comes_first():
    assert choose_in_family(np.array([[1.0, 0.5, 0.5]]), np.array([1.0, 3.0, 2.0]), 2) == [2, 1]


def test_families_take_turns_by_what_they_add():
    lines = np.array([[1.0, 0.9, 0.9, 0.9], [1.0, 0.0, 0.9, 0.9]])
    seconds = {"trees": np.ones((2, 4)), "lines": np.ones((2, 4))}
    order = choose_points({"trees": TREES, "lines": lines}, seconds, 3)
    assert {order[0], order[1]} == {("trees", 1), ("lines", 1)}
    assert len(order) == 6


def test_losses_are_on_the_scale_of_their_table_and_a_failure_is_no_better_than_the_median():
    scaled = normalise({"trees": np.array([[4.0, 2.0, 3.0, np.inf]])})["trees"]
    assert scaled[0, 1] == 0.0
    assert scaled[0, 0] == scaled[0, 3] == 1.0


def test_regret_is_that_of_the_best_so_far():
    scaled = {"trees": TREES}
    assert [regret(scaled, 1, [("trees", 1), ("trees", 3)], asked) for asked in (0, 1, 2)] == [1.0, 1.0, 0.2]


def test_candidates_are_the_same_at_each_call_and_the_defaults_come_first():
    family = FAMILIES["lightgbm"]
    candidates = candidates_of(family, Task.BINARY)
    assert candidates == candidates_of(family, Task.BINARY)
    assert dict(candidates[0]) == dict(family.defaults(Task.BINARY))
    assert len(candidates) == 40
