"""Curves of the age at which labels come, from cohorts of which the young ones show early labels only."""

from dataclasses import replace

import numpy as np
import pytest

from optagent.analysis.label_maturity import (
    MATURE,
    MaturityCurve,
    bin_end,
    bins_of_ages,
    label_maturity,
    maturing_age,
    maturity_curve,
)
from optagent.domain.label_maturity import ALL, LabelCohort, LabelHistory

DAY, HOUR = 86_400.0, 3600.0


def history_of(delays, days=40, a_day=400, outcomes=("no", "yes"), seed=0, ages=None):
    """A history of `days`, the newest a day old; `delays(rng, outcome)` gives seconds, infinite where none comes."""
    rng, cohorts = np.random.default_rng(seed), []
    for day, age in enumerate(ages or range(days, 0, -1)):
        outcome = rng.integers(0, len(outcomes), a_day)
        reach, bins = int(bins_of_ages(np.array([age * DAY]))[0]), bins_of_ages(delays(rng, outcome))
        counts = []
        for index in range(len(outcomes)):
            values, labels = np.unique(bins[(outcome == index) & (bins < reach)], return_counts=True)
            counts.append(dict(zip(values.tolist(), labels.tolist(), strict=True)))
        cohorts.append(LabelCohort(day * DAY, a_day, reach, tuple(counts)))
    return LabelHistory(DAY, outcomes, cohorts=tuple(cohorts))


def exponential(rng, outcome):
    """A day on average, of outcome 1 two; three in ten requests never get a label."""
    return np.where(rng.random(len(outcome)) < 0.3, np.inf, rng.exponential(DAY * (1 + outcome)))


def curve_of(history, label_delay_s=0.0):
    curve = maturity_curve(history, label_delay_s)
    assert isinstance(curve, MaturityCurve), curve
    return curve


def test_bins_hold_the_ages_between_their_ends():
    ages = np.array([-5.0, 0.0, 0.99, 1.0, 1.04, 2.0, DAY, 1e12])
    bins = bins_of_ages(ages)

    assert bins.tolist()[:6] == [0, 0, 0, 1, 1, 17]
    inside = (bins > 0) & (ages < 1e12)
    assert all(
        bin_end(index - 1) <= age < bin_end(index) for index, age in zip(bins[inside], ages[inside], strict=True)
    )


def test_the_curve_is_that_of_the_delays_although_young_cohorts_show_only_early_labels():
    curve = curve_of(history_of(exponential))
    ages = np.array([0.5, 1.0, 2.0, 4.0]) * DAY

    for outcome in (0, 1):
        shares = curve.shares_at(np.full(4, outcome), ages)
        assert shares == pytest.approx(1 - np.exp(-ages / DAY / (1 + outcome)), abs=0.02)
    assert curve.ever == pytest.approx(0.7, abs=0.01)


def test_cohorts_counted_at_doubling_ages_give_the_same_curve():
    ages = [2 ** int(np.log2(age)) for age in range(60, 0, -1)]
    curve = curve_of(history_of(exponential, ages=ages))

    assert curve.shares_at(np.ones(1, int), np.array([2 * DAY]))[0] == pytest.approx(1 - np.exp(-1), abs=0.02)


def test_the_draws_spread_as_curves_of_other_days_do():
    curves = [curve_of(history_of(exponential, a_day=100, seed=seed)) for seed in range(30)]
    at = (np.ones(1, int), np.array([DAY]))
    between = np.std([curve.shares_at(*at)[0] for curve in curves])

    assert np.mean([curve.draws_at(*at)[:, 0].std() for curve in curves]) == pytest.approx(between, rel=0.35)


def test_labels_that_all_come_at_one_age_make_a_step():
    curve = curve_of(history_of(lambda rng, outcome: np.where(outcome == 1, DAY + 60, 60.0)))
    shares = curve.shares_at(np.ones(3, int), np.array([0.9 * DAY, 1.06 * DAY, 3 * DAY]))

    assert shares.tolist() == [0.0, 1.0, 1.0]


def test_an_outcome_with_few_labels_has_the_curve_of_all():
    def rare(rng, outcome):
        return np.where(
            outcome == 1, np.where(rng.random(len(outcome)) < 0.999, np.inf, HOUR), rng.exponential(DAY, len(outcome))
        )

    curve = curve_of(history_of(rare))

    assert (curve.shares[2] == curve.shares[0]).all()
    outcomes = {one.outcome: one for one in label_maturity(history_of(rare), curve, 0.0).outcomes}
    assert outcomes["yes"].q50_s is None
    assert outcomes["no"].q50_s == pytest.approx(DAY * np.log(2), rel=0.06)
    assert list(outcomes) == [ALL, "no", "yes"]


def test_labels_that_still_come_at_the_largest_age_leave_unknown_how_many_ever_will():
    short = history_of(exponential, days=5)

    assert "still come at the largest age" in maturity_curve(short, 0.0)
    assert isinstance(maturity_curve(short, 2 * DAY), MaturityCurve)  # the user's bound says that none come later
    assert "no requests as old as the label delay of 9 d" in maturity_curve(short, 9 * DAY)


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (LabelHistory(DAY, ("no", "yes")), "labels of 0 stretches of time"),
        (history_of(exponential, days=2), "labels of 2 stretches of time"),
        (history_of(exponential, a_day=2, days=12), "labels, at least 50 are needed"),
    ],
)
def test_too_few_labels_make_no_curve(history, reason):
    assert reason in maturity_curve(history, 0.0)


def test_labels_that_came_later_than_their_time_says_make_no_curve():
    history = history_of(exponential)
    backdated = replace(history, cohorts=tuple(replace(one, backdated=40) for one in history.cohorts))

    assert "record the time at which a label came" in maturity_curve(backdated, 0.0)


def test_detectors_wait_for_mature_labels_but_never_longer_than_the_label_delay():
    curve = curve_of(history_of(exponential))
    mature_s = curve.age_of(MATURE)

    assert mature_s == pytest.approx(2 * DAY * np.log(100), rel=0.2)
    assert maturing_age(curve, 0.0) == maturing_age(curve, 90 * DAY) == mature_s
    assert maturing_age(curve, 3 * DAY) == maturing_age(None, 3 * DAY) == 3 * DAY
    assert maturing_age(None, 0.0) == 0.0


def test_the_suggested_label_delay_is_the_age_of_mature_labels_of_the_slowest_outcome():
    history = history_of(exponential)
    maturity = label_maturity(history, curve_of(history), 3 * DAY)

    assert (maturity.label_delay_s, maturity.suggested_label_delay_s) == (3 * DAY, curve_of(history).age_of(MATURE))
    shares = [share for _, share in maturity.points]
    assert len(shares) <= 40
    assert shares == sorted(shares)
