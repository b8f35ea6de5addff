"""A year of gates: candidates that are no better, that are better, and the gain reported of those that passed."""

import numpy as np
import pytest
from scipy.stats import binom

from optagent.domain.gate import Criterion, Gates, Verdict, judge_improvement
from optagent.sequential.holdout_ledger import LEAST_RESAMPLED, alpha_of_look, widen_interval
from tests.performance.decisions.gates import (
    ALPHA,
    differences,
    false_challengers,
    false_years,
    late_power,
    measure_intervals,
    power,
    reported_gain,
    slide,
)


def years_that_one_look_a_holdout_let_pass(runs, rows, weeks):
    """The share of years with a false pass by the rule of earlier decisions, to which a row more was a new holdout."""
    rng, wrong = np.random.default_rng(5), np.zeros(runs, dtype=bool)
    alpha = alpha_of_look(ALPHA, 1)
    for _ in range(weeks):
        for place, interval in enumerate(measure_intervals(differences(rng, runs, rows), max(alpha, LEAST_RESAMPLED))):
            bound = widen_interval(interval, alpha)
            result = judge_improvement("champion", bound, 1.0, Gates(), "it", "loss", rows)
            wrong[place] |= result.verdict is Verdict.PASS
    return wrong.mean()


def test_a_year_of_weekly_candidates_that_are_no_better_passes_one_with_the_risk_agreed_at_most():
    runs = 30
    assert false_years(runs, 1_300, 35, 0.0) <= binom.ppf(0.99, runs, ALPHA) / runs


def test_half_a_year_passed_one_in_a_fifth_of_the_cases_where_each_holdout_had_a_budget_of_its_own():
    assert years_that_one_look_a_holdout_let_pass(40, 1_300, 26) > 0.2


def test_forty_searches_on_the_same_rows_give_a_false_challenger_with_the_risk_agreed_at_most():
    runs = 40
    assert false_challengers(runs) <= binom.ppf(0.99, runs, ALPHA) / runs


def test_the_tenth_look_at_rows_that_do_not_grow_has_at_least_half_of_the_power_of_the_first():
    assert late_power(80, 1_300, 0, 0.03) >= 0.5


def test_a_filter_lets_past_most_that_are_better_by_two_percent_and_one_in_five_that_are_equal():
    assert power(200, Criterion.FILTER, 1_300, 0.02) > 0.8
    assert power(200, Criterion.FILTER, 1_300, 0.0) <= binom.ppf(0.999, 200, 0.2) / 200


def test_a_proof_takes_no_more_risk_than_its_look_has():
    runs = 400
    assert power(runs, Criterion.PROOF, 1_300, 0.0) <= binom.ppf(0.999, runs, ALPHA / 10) / runs
    assert power(200, Criterion.PROOF, 1_300, 0.03) > 0.45


def test_many_steps_that_are_each_no_worse_do_not_lead_away_from_the_best_champion_so_far():
    assert slide(20, with_anchor=False, weeks=15) > 2.0 > 1.5 > slide(20, with_anchor=True, weeks=15)


@pytest.mark.parametrize(("criterion", "runs"), [(Criterion.FILTER, 300), (Criterion.PROOF, 1_000)])
def test_the_gain_that_is_reported_of_those_that_passed_is_the_true_one_in_the_median(criterion, runs):
    plain, corrected = (reported_gain(runs, criterion, 0.01, each) for each in (False, True))
    assert plain > 1.3
    assert corrected == pytest.approx(1.0, abs=0.4)
