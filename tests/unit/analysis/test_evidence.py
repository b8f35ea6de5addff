import numpy as np
import pytest

from optagent.analysis.evidence import (
    calibration_noise,
    column_facts,
    constant_labels,
    constant_predictions,
    degraded_metrics,
    drifted_importance,
    estimated_drop,
    incomparable_reason,
    loss_rises,
    unusable_share,
)
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.analysis.performance import metric_values
from optagent.domain.drift import ColumnDrift, DriftReport, DriftStatus, Summary
from optagent.domain.model import Task
from optagent.domain.performance import Degradation, EstimatedMetric, EstimatedPerformance, MetricValue
from optagent.domain.quality import DataQuality, RowProblem
from optagent.domain.study import Interval
from optagent.training.metrics import metric_named

COLUMNS = (ObservedColumn("a", "numeric"), ObservedColumn("kind", "categorical", ("x", "y")))


def make_rows(rows=1000, seed=0, shift=0.0, wrong_above=None, prediction=None, y=None) -> ObservedRows:
    """Probabilities of class 1 that fit; where `a` is above `wrong_above`, labels are coins."""
    rng = np.random.default_rng(seed)
    a, kind = rng.normal(shift, 1, rows), rng.integers(0, 2, rows)
    p = 1 / (1 + np.exp(-2 * a)) if prediction is None else prediction
    chance = p if wrong_above is None else np.where(a > wrong_above, 0.5, p)
    return ObservedRows(
        task=Task.BINARY,
        columns=COLUMNS,
        x=np.column_stack([a, kind]).astype(np.float32),
        prediction=p,
        y=(rng.random(rows) < chance).astype(np.float64) if y is None else y,
        time=np.arange(rows, dtype=np.float64),
        latency_ms=np.full(rows, np.nan),
        n_classes=2,
    )


def drift(a=DriftStatus.DRIFTED, kind=DriftStatus.STABLE, effect=0.3) -> DriftReport:
    """The drift report of the two columns, as far as the evidence reads it."""
    features = tuple(
        ColumnDrift(column.name, column.kind, status, effect, weight, Summary(1000, 0.0), Summary(1000, 0.2), 1000.0)
        for column, status, weight in zip(COLUMNS, (a, kind), (0.7, 0.3), strict=True)
    )
    return DriftReport(1000, 1000, None, 0.05, a, effect, features, DriftStatus.STABLE, 0.0, ())


def fall(name="auc", then=0.8, now=0.7, watched=True, degraded=True) -> Degradation:
    then_value, now_value = (
        MetricValue(name, True, True, 500, Interval(v, v - 0.01, v + 0.01, 0.05)) for v in (then, now)
    )
    drop = Interval(then - now, then - now - 0.02, then - now + 0.02, 0.05)
    return Degradation(then_value, now_value, 0.05, drop, degraded, watched=watched)


def test_only_watched_metrics_that_fell_surely_count_as_degraded():
    falls = [fall(), fall("precision", watched=False), fall("accuracy", degraded=False)]
    assert [(one.name, one.drop) for one in degraded_metrics(falls)] == [("auc", pytest.approx(0.1))]


def test_losses_are_told_apart_where_a_drifted_feature_has_become_more_frequent():
    a, kind = column_facts(drift(), make_rows(), make_rows(seed=1, shift=1.0, wrong_above=1.0))
    assert a.loss_inside > a.loss_outside + 0.1
    assert (kind.loss_inside, kind.loss_outside, kind.excess_loss) == (None, None, None)
    assert (a.drifted, kind.drifted, a.importance, a.null_share_now) == (True, False, 0.7, 0.2)


def test_without_a_drift_report_nothing_is_known_of_columns():
    assert column_facts(None, make_rows(), make_rows()) == ()
    assert drifted_importance(None) is None
    assert drifted_importance(drift(a=DriftStatus.UNKNOWN)) is None
    assert drifted_importance(drift()) == 0.7


def test_a_constant_needs_enough_values():
    few, many = make_rows(29), make_rows(30)
    for each in (few, many):
        each.x[:, 0] = 5
    assert not column_facts(drift(), make_rows(), few)[0].constant_now
    assert column_facts(drift(), make_rows(), many)[0].constant_now


def test_a_loss_that_the_reference_knew_on_such_rows_was_to_be_expected():
    rise, expected = loss_rises(drift(), make_rows(5000, wrong_above=1), make_rows(5000, 1, shift=1.5, wrong_above=1))
    assert rise > 0.05
    assert expected == pytest.approx(rise, rel=0.15)


def test_a_loss_that_the_reference_did_not_know_was_not():
    rise, expected = loss_rises(drift(), make_rows(5000), make_rows(5000, 1, shift=1.5, wrong_above=1))
    assert rise > 0.05
    assert expected < 0.2 * rise


def test_a_loss_that_has_hardly_grown_or_has_few_labels_is_not_explained():
    assert loss_rises(drift(), make_rows(5000), make_rows(5000, 1)) == (None, None)
    assert loss_rises(drift(), make_rows(50), make_rows(5000, 1)) == (None, None)
    assert loss_rises(None, make_rows(), make_rows()) == (None, None)


@pytest.mark.parametrize("rows", [300, 1500])
def test_the_noise_of_a_calibration_error_is_what_probabilities_that_fit_would_show(rows):
    """By simulation: the mean error of twenty windows of probabilities that fit."""
    errors = [
        metric_values(make_rows(rows, seed), (metric_named("calibration_error", Task.BINARY),))[0] for seed in range(20)
    ]
    noise = np.mean([calibration_noise(one.interval) for one in errors])
    assert noise == pytest.approx(np.mean([one.value for one in errors]), rel=0.25)
    assert sum(one.value > 2 * calibration_noise(one.interval) for one in errors) <= 1


def test_unusable_shares_need_enough_rows():
    quality = DataQuality(rows=100, problems={RowProblem.UNUSABLE_PREDICTION: 25})
    assert unusable_share(quality, RowProblem.UNUSABLE_PREDICTION, 75) == 0.25
    assert unusable_share(quality, RowProblem.UNUSABLE_PREDICTION, 1) == 0.0
    assert unusable_share(quality, RowProblem.UNUSABLE_LABEL, 75) == 0.0


def test_constant_predictions_are_news_only_where_the_reference_has_others():
    same = make_rows(100, prediction=np.full(100, 0.4))
    assert constant_predictions(make_rows(), same)
    assert not constant_predictions(same, same)
    assert not constant_predictions(make_rows(), make_rows(0))


@pytest.mark.parametrize(("share", "rows", "constant"), [(0.5, 200, True), (0.01, 200, False), (0.01, 100_000, True)])
def test_constant_labels_are_news_where_chance_does_not_explain_them(share, rows, constant):
    """A rare class may well be absent for a while."""
    reference = make_rows(1000, y=(np.arange(1000) < share * 1000).astype(np.float64))
    assert constant_labels(reference, make_rows(rows, y=np.zeros(rows))) is constant
    assert not constant_labels(reference, make_rows(rows, y=np.full(rows, np.nan)))


def test_why_nothing_could_be_compared_is_said():
    blank = MetricValue("auc", True, True, 3, reason="3 labelled rows")
    assert incomparable_reason([Degradation(blank, blank, 0.05, reason="the window: 3 labelled rows")]) == (
        "the window: 3 labelled rows"
    )
    assert incomparable_reason([fall(), Degradation(blank, blank, 0.05, reason="the window: 3 labelled rows")]) == ""


def test_the_estimated_drop_is_in_the_unit_of_the_realised_one():
    def estimate(name, value, maximize, bounded):
        interval = Interval(value, value, value, 0.05)
        return EstimatedPerformance(100, (EstimatedMetric(name, maximize, bounded, interval),), True)

    assert estimated_drop(estimate("auc", 0.75, True, True), [fall()], "auc") == pytest.approx(0.05)
    loss = fall("log_loss", 0.5, 0.6)
    assert estimated_drop(estimate("log_loss", 0.6, False, False), [loss], "log_loss") == pytest.approx(0.2)
    assert estimated_drop(None, [fall()], "auc") is None
    assert estimated_drop(estimate("auc", 0.75, True, True), [fall()], "brier") is None
