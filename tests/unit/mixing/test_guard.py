"""The guard of a mixture: the champion gets what keeps the promise, and no more than that."""

import math

import pytest

from optagent.mixing.guard import AHEAD, GuardedRows, affordable_excess, champion_share

BOUND, MOST = 3.3, 5.3


def share(own_weight, behind, waiting=0, most_open=0, newest=1):
    return champion_share(own_weight, behind, BOUND, MOST, GuardedRows(waiting, most_open, newest))


@pytest.mark.parametrize("behind", [-100.0, -5.0, 0.0, 1.0, 3.2])
def test_with_labels_at_once_the_weight_of_bayes_rule_is_nearly_always_enough(behind):
    own_weight = math.exp(-(BOUND - behind))
    assert share(own_weight, behind) < 0.02
    assert (share(own_weight, behind) == 0.0) or behind < 0


def test_beyond_the_promise_the_champion_answers_alone():
    assert share(0.0, 11 * BOUND, waiting=5, most_open=10) == 1.0
    assert share(0.0, 10.9 * BOUND, waiting=10, most_open=10) < 1.0


def test_no_share_is_needed_where_the_promise_pays_for_the_worst_answers():
    assert share(0.0, -10_000.0, waiting=10, most_open=40, newest=10) == 0.0


def test_the_share_tops_up_the_weight_that_the_champion_has():
    rows = GuardedRows(10, 40, 10)
    least = math.exp(-affordable_excess(50.0, BOUND, rows))
    given = champion_share(0.01, 50.0, BOUND, MOST, rows)
    assert given + (1 - given) * 0.01 == pytest.approx(least)


@pytest.mark.parametrize("waiting", [0, 10, 40])
@pytest.mark.parametrize("behind", [-50.0, 0.0, 60.0, 130.0])
def test_however_many_rows_come_next_the_promise_holds(waiting, behind):
    rows = GuardedRows(waiting, 40, 10)
    a_row = affordable_excess(behind, BOUND, rows)
    for more in range(1, round(AHEAD * rows.newest) + 1):
        most_open = max(rows.most_open, waiting + more)
        assert behind + more * a_row <= (most_open + 1) * BOUND + 1e-9
