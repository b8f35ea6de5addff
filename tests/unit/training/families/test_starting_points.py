"""The learned starting points are settings that their families accept, in an order that mixes families."""

import pytest

from optagent.domain.model import Task
from optagent.domain.space import Categorical
from optagent.training.families.registry import FAMILIES, family_named
from optagent.training.families.starting_points import starting_points_of

POINTS_A_FAMILY = 20
LEARNED = {"lightgbm", "xgboost", "extra_trees", "linear", "catboost"}
TASKS = (Task.BINARY, Task.MULTICLASS, Task.REGRESSION)


@pytest.mark.parametrize("task", TASKS)
def test_each_is_complete_and_inside_of_its_family_s_space(task):
    points = starting_points_of(FAMILIES, task)
    for family, params in points:
        space = family_named(family).space(task)
        assert set(params) == set(space.names)
        for item in space:
            value = params[item.name]
            assert value in item.choices if isinstance(item, Categorical) else item.low <= value <= item.high


@pytest.mark.parametrize("task", TASKS)
def test_there_are_twenty_a_family_no_two_alike_and_none_the_defaults(task):
    points = starting_points_of(FAMILIES, task)
    assert {family for family, _ in points} >= LEARNED
    for family in LEARNED:
        own = [dict(params) for name, params in points if name == family]
        assert len(own) == POINTS_A_FAMILY
        assert all(own.count(params) == 1 for params in own)
        assert dict(family_named(family).defaults(task)) not in own


def test_the_first_ones_are_of_several_families():
    for task in TASKS:
        assert len({family for family, _ in starting_points_of(FAMILIES, task)[:8]}) >= 2


def test_the_order_of_one_family_is_that_among_all():
    everything = starting_points_of(FAMILIES, Task.BINARY)
    assert starting_points_of(["xgboost"], Task.BINARY) == tuple(one for one in everything if one[0] == "xgboost")


def test_a_family_of_a_user_s_own_has_none():
    assert starting_points_of(["my_package.models:Mine"], Task.REGRESSION) == ()
