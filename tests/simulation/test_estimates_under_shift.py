import pytest
from scipy.stats import binom

from optagent.domain.model import Task
from tests.performance.decisions.estimates import (
    CALM,
    World,
    coverage_of_classifier,
    coverage_of_regression,
    refusals,
    trusted_calm,
    trusted_concept_change,
    trusted_unchecked,
)

RUNS = 60
FEWEST = binom.ppf(0.005, RUNS, 0.93) / RUNS
"""Of coverage at .93: fewer windows than this are bad luck in one case of two hundred."""


@pytest.mark.parametrize(
    "world",
    [CALM, World("own"), World("both", 0.8), World("correlation", 0.7)],
    ids=["none", "own", "own and unknown", "correlation"],
)
def test_the_truth_of_a_classifier_stays_inside_its_interval_under_a_shift(world: World) -> None:
    assert coverage_of_classifier(RUNS, world) >= FEWEST


def test_the_errors_of_a_regression_stay_inside_their_intervals_under_a_shift() -> None:
    runs = 20
    assert coverage_of_regression(runs, World("own")) >= binom.ppf(0.005, runs, 0.93) / runs


def test_windows_beyond_the_reference_are_refused_and_others_are_not() -> None:
    assert refusals(20, Task.BINARY, World("own", 4.0)) == 1
    assert refusals(4, Task.REGRESSION, World("own", 4.0)) == 1
    assert refusals(RUNS, Task.BINARY, CALM) == 0


def test_no_estimate_is_trusted_before_labels_have_checked_it() -> None:
    assert trusted_unchecked(10) == 0


def test_labels_confirm_an_estimate_and_refute_it_after_a_change_of_the_concept() -> None:
    assert trusted_calm(20) >= 0.8
    assert trusted_concept_change(20) <= 0.1
