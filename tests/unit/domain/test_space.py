"""A search space refuses nonsense at birth, and overrides stay within what is legal."""

import pytest

from optagent.domain.space import Categorical, Float, Int, SearchSpace
from optagent.errors import InvalidRequest

SPACE = SearchSpace(
    (Float("learning_rate", 0.01, 0.3, log=True), Int("leaves", 8, 256, log=True), Categorical("bins", (63, 255)))
)
LIMITS = {"learning_rate": (1e-6, 1.0), "leaves": (2, 4096), "bins": (2, 1024)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float("rate", 1.0, 0.1), "rate: low must be below high, got 1.0 and 0.1"),
        (lambda: Float("rate", 0.0, 0.1, log=True), "rate: a log scale needs low above 0, got 0.0"),
        (lambda: Float("rate", float("nan"), 0.1), "rate: low must be a finite number, got nan"),
        (lambda: Float("rate", True, 2), "rate: low must be a finite number, got True"),
        (lambda: Int("leaves", 1, 2.5), "leaves: whole numbers are needed, got 1 and 2.5"),
        (lambda: Categorical("bins", ()), "bins: at least one choice is needed"),
        (lambda: Categorical("bins", (1, 1)), r"bins: choices must differ, got \[1, 1\]"),
        (lambda: SearchSpace((Int("a", 1, 2), Int("a", 1, 3))), "named twice"),
    ],
)
def test_a_contradiction_is_refused_at_birth(make, message):
    with pytest.raises(InvalidRequest, match=message):
        make()


def test_an_override_narrows_widens_or_fixes_and_leaves_the_rest():
    changed = SPACE.with_overrides({"learning_rate": {"high": 0.5}, "leaves": 31, "bins": [255]}, LIMITS)
    assert changed.parameters == (
        Float("learning_rate", 0.01, 0.5, log=True),
        Categorical("leaves", (31,)),
        Categorical("bins", (255,)),
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"depth": 3}, r"unknown parameter 'depth'; one of \['bins', 'learning_rate', 'leaves'\]"),
        ({"learning_rate": {"low": 0.5, "high": 0.1}}, "low must be below high"),
        ({"learning_rate": {"high": 3.0}}, "learning_rate: 3.0 is outside its legal range 1e-06 to 1.0"),
        ({"leaves": 1}, "leaves: 1 is outside its legal range 2 to 4096"),
        ({"leaves": 31.5}, "leaves: a whole number is needed, got 31.5"),
        ({"leaves": "many"}, "leaves: a number is needed, got 'many'"),
        ({"leaves": {"min": 3}}, r"leaves: unknown \['min'\]; low, high and log are known"),
        ({"bins": 127}, r"bins: unknown choice 127; one of \[63, 255\]"),
        ({"bins": {"low": 3}}, "bins: give a list of choices"),
    ],
)
def test_an_override_that_cannot_be_meant_is_refused(overrides, message):
    with pytest.raises(InvalidRequest, match=message):
        SPACE.with_overrides(overrides, LIMITS)
