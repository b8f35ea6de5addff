import numpy as np
import pytest

from optagent.analysis.bias import LEAST_OF_CLASS, LEAST_ROWS, ODDS, PARITY, group_differences


def rows(*groups):
    """Truth, probabilities and names of groups, each (name, true positives, misses, false alarms, true negatives)."""
    y, prediction, names = [], [], []
    for name, hits, misses, alarms, rest in groups:
        y += [1.0] * (hits + misses) + [0.0] * (alarms + rest)
        prediction += [0.9] * hits + [0.1] * misses + [0.9] * alarms + [0.1] * rest
        names += [name] * (hits + misses + alarms + rest)
    return np.array(y), np.array(prediction), names


def test_the_differences_are_those_of_the_rates_by_group():
    parity, odds = group_differences(*rows(("f", 30, 10, 5, 55), ("m", 10, 10, 12, 68)))
    assert (parity.measure, odds.measure) == (PARITY, ODDS)
    assert parity.difference == pytest.approx(35 / 100 - 22 / 100)
    assert odds.difference == pytest.approx(30 / 40 - 10 / 20)
    assert parity.groups == odds.groups == {"f": 100, "m": 100}
    assert (parity.worst_class, parity.left_out) == (1, {})


def test_of_more_than_two_groups_the_two_that_differ_most_count():
    parity, _ = group_differences(*rows(("a", 20, 20, 20, 20), ("b", 30, 10, 30, 10), ("c", 10, 30, 10, 30)))
    assert parity.difference == pytest.approx(0.5)


def test_groups_without_enough_rows_of_a_class_have_no_rates_of_it():
    few = LEAST_OF_CLASS - 1
    parity, odds = group_differences(*rows(("a", 20, 20, 20, 20), ("b", 20, 20, 20, 20), ("c", 0, few, 0, 60)))
    assert set(parity.groups) == {"a", "b", "c"}
    assert (odds.difference, odds.left_out) == (0.0, {"c": few + 60})


def test_of_one_group_alone_nothing_is_said():
    small = ("m", 10, 0, 0, LEAST_ROWS - 11)
    for gap in group_differences(*rows(("f", 30, 30, 30, 30), small)):
        assert (gap.difference, gap.worst_class, gap.groups) == (None, None, {})
        assert gap.left_out == {"f": 120, "m": LEAST_ROWS - 1}


def test_of_several_classes_each_is_set_against_the_rest():
    y = np.tile([0.0, 1.0, 2.0], 40)
    names = ["f"] * 60 + ["m"] * 60
    prediction = np.eye(3)[y.astype(int)]
    prediction[60:] = np.eye(3)[np.where(y[60:] == 2, 1, y[60:]).astype(int)]
    parity, odds = group_differences(y, prediction, names)
    assert parity.difference == pytest.approx(1 / 3)
    assert (odds.difference, odds.worst_class) == (1.0, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_probabilities_that_are_no_numbers_are_refused(bad):
    y, prediction, names = rows(("f", 20, 20, 20, 20), ("m", 20, 20, 20, 20))
    prediction[7] = bad
    with pytest.raises(ValueError, match="not finite"):
        group_differences(y, prediction, names)


def test_no_rows_have_no_groups():
    assert group_differences(np.empty(0), np.empty(0), [])[0].difference is None
