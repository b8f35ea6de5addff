"""Parts of bags learn from all rows but a fold of their own, and say so in a recipe that is stored."""

import numpy as np
import pytest

from optagent.errors import InvalidRequest
from optagent.training.bag import FOLDS, BagPart
from optagent.training.recipe import Recipe

Y = (np.arange(100) % 10 == 0).astype(float)
ROWS = np.arange(0, 100, 1)


def left_out(number: int, rows: np.ndarray = ROWS, seed: int = 0) -> set[int]:
    return set(rows.tolist()) - set(BagPart("trial 3", number).rows_of(rows, Y, seed).tolist())


def test_the_parts_of_a_repeat_leave_out_each_row_once_and_share_the_rare_class_equally():
    folds = [left_out(number) for number in range(FOLDS)]
    assert sorted(row for fold in folds for row in fold) == ROWS.tolist()
    assert [int(Y[list(fold)].sum()) for fold in folds] == [2] * FOLDS


def test_a_further_repeat_draws_other_folds_and_the_same_seed_the_same_ones():
    again = [left_out(number) for number in range(FOLDS, 2 * FOLDS)]
    assert sorted(row for fold in again for row in fold) == ROWS.tolist()
    assert left_out(0) not in again
    assert left_out(3) == left_out(3)
    assert left_out(3, seed=1) != left_out(3)


def test_the_rows_stay_in_their_order_and_none_is_added():
    rows = np.arange(7, 93, 2)
    learned = BagPart("trial 3", 1).rows_of(rows, Y, 0)
    assert (np.diff(learned) > 0).all()
    assert set(learned) <= set(rows)


def test_a_part_by_seed_learns_from_all_rows_by_a_seed_of_its_own():
    part = BagPart("trial 3", 2, folds=0)
    assert part.rows_of(ROWS, Y, 0) is ROWS
    assert part.seed_of(10) == 12


def test_a_recipe_of_a_part_is_stored_with_it_and_one_without_as_before():
    recipe = Recipe("trial 3, folds 2", "lightgbm", {"num_leaves": 7}, 20, part=BagPart("trial 3", 1))
    assert Recipe.from_plain(recipe.to_plain()) == recipe
    assert sorted(Recipe("trial 3", "linear", {}, 1).to_plain()) == ["family", "name", "params", "rounds"]


@pytest.mark.parametrize("part", [{"bag": "a", "number": -1, "folds": 5}, {"bag": "a", "number": 0, "folds": 1}, {}, 3])
def test_a_stored_part_that_is_none_is_refused(part: object):
    fields = Recipe("a", "linear", {}, 1).to_plain() | {"part": part}
    with pytest.raises(InvalidRequest, match="not a recipe"):
        Recipe.from_plain(fields)
