import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from optagent.analysis.concept_drift import concept_drift, excess_loss, row_losses
from optagent.analysis.observed_rows import ObservedRows
from optagent.codec import decode, encode
from optagent.domain.concept_drift import ConceptDrift, Direction, DriftState
from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.sequential.block_baseline import baseline_of

ELEC2 = Path(__file__).parents[3].parent / "shared" / "data" / "elec2.csv.gz"
DAY_S = 86_400.0
EVERY_S = 90 * DAY_S
STEP_S = 600.0
RARELY_S = 360 * DAY_S


def make_rows(prediction, y, task=Task.BINARY, start=0, step_s=STEP_S):
    rows = len(y)
    return ObservedRows(
        task=task,
        columns=(),
        x=np.zeros((rows, 0), dtype=np.float32),
        prediction=np.asarray(prediction, dtype=np.float64),
        y=np.asarray(y, dtype=np.float64),
        time=(start + np.arange(rows)) * step_s,
        latency_ms=np.full(rows, np.nan),
        n_classes=2 if task is Task.BINARY else 0,
    )


def classified_rows(seed, rows, flipped=0.0, start=0):
    """Calibrated probabilities; a share `flipped` of the labels is the other one."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 3, rows)
    y = (rng.random(rows) < p) ^ (rng.random(rows) < flipped)
    return make_rows(p, y, start=start)


def join_rows(first, second):
    both = (np.concatenate([getattr(first, name), getattr(second, name)]) for name in ("prediction", "y"))
    return make_rows(*both, task=first.task)


def test_where_nothing_changed_alarms_are_as_seldom_as_asked_for():
    runs, rows = 24, 10_000
    drifts = [
        concept_drift(classified_rows(2 * seed, 3_000), classified_rows(2 * seed + 1, rows), RARELY_S)
        for seed in range(runs)
    ]

    allowed = rows / (RARELY_S / STEP_S)  # alarms a run
    assert sum(one.is_detected for one in drifts) <= binom.ppf(0.999, runs, min(1.0, allowed))
    assert sum(one.adwin.detected for one in drifts) <= 2
    assert all(one.alarmed_at is None for one in drifts if not one.is_detected)
    assert np.median([one.excess.estimate for one in drifts if not one.is_detected]) == pytest.approx(0, abs=0.01)


def test_a_change_is_reported_with_its_time_and_size():
    current = join_rows(classified_rows(1, 4_000), classified_rows(2, 4_000, flipped=0.2))

    drift = concept_drift(classified_rows(0, 4_000), current, EVERY_S)

    assert drift.is_detected
    assert drift.changed_at == pytest.approx(4_000 * STEP_S, abs=500 * STEP_S)
    assert drift.changed_at <= drift.alarmed_at < 4_500 * STEP_S
    assert drift.e_value > drift.threshold
    assert drift.excess.low < 0.08 < drift.excess.high  # .2 of the rows lose E[p³ + (1-p)³ - p(1-p)] = .4
    assert drift.direction is Direction.WORSE
    assert drift.adwin.detected
    assert drift.adwin.direction is Direction.WORSE
    assert drift.alarmed_at < drift.adwin.at


def test_the_run_length_is_the_time_between_false_alarms_at_the_rate_of_labelled_rows():
    current = classified_rows(1, 2_000)
    current.y[::2] = np.nan

    drift = concept_drift(classified_rows(0, 2_000), current, EVERY_S)

    assert drift.rows == 1_000
    assert drift.arl_rows == pytest.approx(EVERY_S / (2 * STEP_S), rel=0.01)
    assert drift.threshold == pytest.approx(drift.arl_rows / drift.block_rows)


def test_a_model_that_became_better_is_no_alarm():
    drift = concept_drift(classified_rows(0, 3_000, flipped=0.3), classified_rows(1, 5_000), EVERY_S)

    assert not drift.is_detected
    assert drift.direction is Direction.BETTER
    assert drift.excess.high < 0
    assert drift.adwin.direction is Direction.BETTER


def test_a_rare_class_that_becomes_frequent_is_found_though_the_answer_stays_the_same():
    rng = np.random.default_rng(0)
    before = make_rows(np.full(3_000, 0.03), rng.random(3_000) < 0.03)
    now = make_rows(np.full(3_000, 0.03), rng.random(3_000) < 0.09)

    assert concept_drift(before, now, EVERY_S).is_detected


def test_a_regression_with_larger_errors_is_found_and_one_outlier_is_not():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=12_000) * 10
    prediction = truth + rng.standard_t(3, size=12_000)
    before = make_rows(prediction[:4_000], truth[:4_000], Task.REGRESSION)
    same = make_rows(prediction[4_000:8_000], truth[4_000:8_000], Task.REGRESSION)
    worse = make_rows(truth[8_000:] + 1.3 * (prediction - truth)[8_000:], truth[8_000:], Task.REGRESSION)
    same.prediction[100] = 1e12

    assert concept_drift(before, same, EVERY_S).state is DriftState.NOT_DETECTED
    assert concept_drift(before, worse, EVERY_S).is_detected


def test_several_classes_are_judged_by_the_brier_score():
    p = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.5, 0.5]])

    assert row_losses(make_rows(p, [0, 0, 1], Task.MULTICLASS)).tolist() == [0, 1, 0.25]


@pytest.mark.parametrize(
    ("reference", "current", "reason"),
    [
        (100, 1_000, "100 labelled reference rows, 200 are needed"),
        (1_000, 0, "no labelled rows"),
        (1_000, 30, "30 labelled rows, 50 are needed"),
    ],
)
def test_too_few_labels_are_said_to_be_too_few(reference, current, reason):
    drift = concept_drift(classified_rows(0, reference), classified_rows(1, current), EVERY_S)

    assert drift.state is DriftState.INSUFFICIENT
    assert reason in drift.reason


def test_rows_of_one_instant_have_no_rate():
    now, before = (
        make_rows(one.prediction, one.y, step_s=0.0) for one in (classified_rows(0, 500), classified_rows(1, 500))
    )

    assert "one instant" in concept_drift(before, now, EVERY_S).reason


def test_rows_without_label_or_finite_prediction_are_left_out():
    current = classified_rows(1, 1_000)
    current.y[:300] = np.nan
    current.prediction[300:500] = np.inf

    assert concept_drift(classified_rows(0, 1_000), current, EVERY_S).rows == 500


def test_models_of_different_tasks_are_refused():
    with pytest.raises(InvalidRequest, match="reference is of a binary model, current of a regression model"):
        concept_drift(classified_rows(0, 500), make_rows(np.zeros(9), np.zeros(9), Task.REGRESSION), EVERY_S)


@pytest.mark.parametrize("rows", [0, 30, 3_000])
def test_the_answer_goes_through_json_and_is_the_same_for_the_same_seed(rows):
    drift = concept_drift(classified_rows(0, 500), classified_rows(1, rows, flipped=0.3), EVERY_S, seed=3)

    assert decode(ConceptDrift, encode(drift)) == drift
    assert concept_drift(classified_rows(0, 500), classified_rows(1, rows, flipped=0.3), EVERY_S, seed=3) == drift


def test_the_interval_of_the_excess_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        before, now = ((rng.random(rows) < rate).astype(float) for rows, rate in ((1_000, 0.2), (600, 0.3)))
        interval = excess_loss(before, now, baseline_of(before), seed, alpha=0.1)
        hits += interval.low <= 0.1 <= interval.high

    assert hits >= 80


def test_a_hundred_thousand_rows_take_about_a_second():
    before, now = classified_rows(0, 20_000), classified_rows(1, 100_000)
    concept_drift(before, now, EVERY_S)
    started = time.process_time()
    concept_drift(before, now, EVERY_S)

    assert time.process_time() - started < 3


@pytest.mark.skipif(not ELEC2.exists(), reason=f"real data is needed: {ELEC2}")
@pytest.mark.parametrize(("trained", "until"), [(0.15, 0.2), (0.2, 0.25)])
def test_the_electricity_market_drifts(trained, until):
    from lightgbm import LGBMClassifier

    rows = pd.read_csv(ELEC2)
    y = (rows["class"] == "UP").to_numpy(np.float64)
    x = rows.drop(columns=["class", "nswprice", "date"]).to_numpy(np.float64)
    first, second = int(trained * len(y)), int(until * len(y))
    model = LGBMClassifier(n_estimators=100, num_threads=1, verbose=-1, random_state=0).fit(x[:first], y[:first])
    p = np.asarray(model.booster_.predict(x, num_threads=1))

    drift = concept_drift(
        make_rows(p[first:second], y[first:second], start=first, step_s=1800.0),
        make_rows(p[second:], y[second:], start=second, step_s=1800.0),
        EVERY_S,
    )

    assert drift.is_detected
    assert drift.rows == len(y) - second
