import numpy as np
import pytest

from optagent.analysis.bootstrap import Resampling
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.analysis.performance import (
    Mean,
    as_outcome,
    degradations,
    difference,
    metric_values,
    metrics_by_slice,
    metrics_over_time,
    slices_of,
    windows_of_rows,
)
from optagent.codec import decode, encode
from optagent.domain.model import Task
from optagent.domain.monitoring import Window
from optagent.domain.performance import MetricValue, Performance
from optagent.domain.study import Interval
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.metrics import METRICS, monitored_metrics

QUICK = Resampling(resamples=100, time_ordered=True)
COLUMNS = (ObservedColumn("size", "numeric"), ObservedColumn("region", "categorical", ("north", "south")))


def binary(rows: int, error: float = 0.2, seed: int = 0, weak: str = "") -> ObservedRows:
    """Predictions that are wrong in a share `error` of rows, or in half of those of the region `weak`."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=rows), rng.integers(0, 2, rows)]).astype(np.float32)
    y = rng.integers(0, 2, rows).astype(np.float64)
    wrong = rng.random(rows) < np.where((weak == "south") & (x[:, 1] == 1), 0.5, error)
    prediction = np.where(wrong, 1 - y, y) * 0.6 + 0.4 * rng.random(rows)
    return ObservedRows(Task.BINARY, COLUMNS, x, prediction, y, np.arange(rows) * 60.0, np.full(rows, np.nan), 2)


def multiclass(rows: int) -> ObservedRows:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, rows).astype(np.float64)
    prediction = 0.5 * np.eye(3)[y.astype(int)] + 0.5 * rng.dirichlet(np.ones(3), rows)
    x = np.zeros((rows, 2), np.float32)
    return ObservedRows(Task.MULTICLASS, COLUMNS, x, prediction, y, np.arange(rows) * 60.0, np.full(rows, np.nan), 3)


def regression(rows: int, noise: float = 1.0, seed: int = 0) -> ObservedRows:
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=rows), rng.integers(0, 2, rows)]).astype(np.float32)
    y = x[:, 0] + noise * rng.normal(size=rows)
    prediction = x[:, 0].astype(np.float64)
    return ObservedRows(Task.REGRESSION, COLUMNS, x, prediction, y, np.arange(rows) * 60.0, np.full(rows, np.nan))


WORLDS = {Task.BINARY: binary, Task.MULTICLASS: multiclass, Task.REGRESSION: regression}


def without_labels(observed: ObservedRows) -> ObservedRows:
    return as_labelled(observed, np.full(len(observed), np.nan))


def as_labelled(observed: ObservedRows, y: np.ndarray) -> ObservedRows:
    return ObservedRows(
        observed.task, observed.columns, observed.x, observed.prediction, y, observed.time, observed.latency_ms, 2
    )


@pytest.mark.parametrize("task", list(Task))
def test_every_monitored_metric_has_an_interval_around_its_value(task: Task) -> None:
    observed = WORLDS[task](400)
    for value in metric_values(observed, monitored_metrics(task), how=QUICK):
        assert value.interval is not None, value
        assert value.value == METRICS[value.name].score(observed.y, observed.prediction)
        assert value.rows == 400
        assert value.interval.low <= value.interval.estimate <= value.interval.high


def test_only_rows_with_a_label_and_a_prediction_count() -> None:
    observed = binary(300)
    observed.y[::3] = np.nan
    observed.prediction[1::3] = np.nan
    value = metric_values(observed, [METRICS["accuracy"]], how=QUICK)[0]
    assert value.rows == 100
    assert value.value == METRICS["accuracy"].score(observed.y[2::3], observed.prediction[2::3])


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("rows", [0, 1, 29])
def test_too_few_labels_say_so(task: Task, rows: int) -> None:
    for value in metric_values(WORLDS[task](rows), monitored_metrics(task)):
        assert value.interval is None
        assert value.reason == f"{rows} labelled rows, at least 30 are needed"


@pytest.mark.parametrize("task", list(Task))
def test_no_labels_say_so(task: Task) -> None:
    values = metric_values(without_labels(WORLDS[task](50)), monitored_metrics(task))
    assert {value.reason for value in values} == {"0 labelled rows, at least 30 are needed"}


def test_one_class_says_so_where_a_metric_needs_two() -> None:
    observed = as_labelled(binary(50), np.ones(50))
    values = {value.name: value for value in metric_values(observed, monitored_metrics(Task.BINARY), how=QUICK)}
    without = {name for name, value in values.items() if value.interval is None}
    assert without == {"auc", "precision", "recall", "f1"}
    assert values["auc"].reason == "all 50 labelled rows are of one class"


def test_constant_predictions_and_labels_do_not_crash() -> None:
    observed = regression(50)
    flat = as_outcome(observed, np.ones(50))
    values = {value.name: value for value in metric_values(flat, monitored_metrics(Task.REGRESSION), how=QUICK)}
    assert values["r2"].reason == "r2: all rows have the same value"
    assert values["mae"].value == 1.0


def test_metrics_over_time_are_those_of_each_window() -> None:
    observed = binary(200)
    windows = Window(0, 200 * 60).parts(4)
    points = metrics_over_time(observed, windows, [METRICS["accuracy"]], how=QUICK)
    assert [point.rows for point in points] == [50] * 4
    assert points[1].metrics[0].value == METRICS["accuracy"].score(observed.y[50:100], observed.prediction[50:100])


def test_windows_of_rows_hold_every_row_once() -> None:
    observed = binary(107)
    windows = windows_of_rows(observed, 25)
    assert [len(observed.within(window)) for window in windows] == [25, 25, 25, 32]
    assert windows_of_rows(observed.within(Window(-2, -1)), 25) == ()
    with pytest.raises(InvalidRequest, match="at least 1"):
        windows_of_rows(observed, 0)


def test_rows_of_one_instant_stay_in_one_window() -> None:
    observed = binary(100)
    observed.time[:] = np.repeat(np.arange(4.0), 25)
    assert [len(observed.within(window)) for window in windows_of_rows(observed, 30)] == [50, 50]
    observed.time[:] = 5.0
    assert [len(observed.within(window)) for window in windows_of_rows(observed, 30)] == [100]


def test_the_difference_of_two_intervals_is_that_of_newcombe() -> None:
    interval = difference(Interval(0.8, 0.77, 0.82, 0.05), Interval(0.7, 0.66, 0.75, 0.05))
    assert (interval.low, interval.high) == pytest.approx((0.1 - np.hypot(0.03, 0.05), 0.1 + np.hypot(0.02, 0.04)))


def values_of(observed: ObservedRows) -> tuple[MetricValue, ...]:
    return metric_values(observed, monitored_metrics(observed.task), how=QUICK)


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_a_real_fall_is_degraded_and_an_improvement_is_not(task: Task) -> None:
    good, bad = (
        (binary(800, 0.1), binary(800, 0.3, 1)) if task is Task.BINARY else (regression(800), regression(800, 1.5, 1))
    )
    by_metric = {one.name: one for one in degradations(values_of(good), values_of(bad), 0.05)}
    risen = degradations(values_of(bad), values_of(good), 0.05)
    main = "accuracy" if task is Task.BINARY else "rmse"
    drop = by_metric[main].drop
    assert drop is not None
    assert by_metric[main].degraded
    assert drop.estimate == pytest.approx(0.2 if task is Task.BINARY else 0.5, abs=0.1)
    assert not any(one.degraded for one in risen if one.name != "calibration_error")


def test_noise_is_not_degraded_more_often_than_its_level() -> None:
    # A fall of 2 % of the reference is likely on 100 rows; that its interval excludes 0 is not (2.5 % of worlds).
    alarms = 0
    for seed in range(100):
        before, now = regression(100, seed=2 * seed), regression(100, seed=2 * seed + 1)
        one = [metric_values(each, [METRICS["mae"]], how=QUICK) for each in (before, now)]
        alarms += degradations(one[0], one[1], 0.02)[0].degraded
    assert alarms <= 9  # three standard deviations above 2.5, and a little for the short intervals of the bootstrap


def test_without_a_reference_value_there_is_no_drop_but_a_reason() -> None:
    falls = degradations(values_of(binary(10)), values_of(binary(100)), 0.05)
    assert all(one.drop is None and not one.degraded for one in falls)
    assert falls[0].reason == "the reference: 10 labelled rows, at least 30 are needed"


def test_a_share_of_nothing_says_so() -> None:
    perfect = as_outcome(regression(50), np.zeros(50))
    value = metric_values(perfect, [METRICS["mae"]], how=QUICK)
    assert degradations(value, value, 0.05)[0].reason == "the reference is 0, so there is no share of it"


def test_a_business_metric_runs_through_the_same_functions() -> None:
    observed = binary(200)
    profit = np.where(observed.prediction >= 0.5, 2.0, 1.0)
    profit[:40] = np.inf
    rows = as_outcome(observed, profit)
    before = metric_values(rows, [Mean("profit")], how=QUICK)
    assert before[0].rows == 160
    assert before[0].value == pytest.approx(profit[40:].mean())
    after = metric_values(as_outcome(observed, profit / 2), [Mean("profit")], how=QUICK)
    fall = degradations(before, after, 0.05)[0]
    assert fall.drop is not None
    assert fall.drop.estimate == pytest.approx(0.5)
    assert fall.degraded
    with pytest.raises(InvalidData, match="3 values of an outcome for 200 rows"):
        as_outcome(observed, np.zeros(3))


def test_the_slice_that_is_worse_is_found() -> None:
    slices = metrics_by_slice(binary(2000, weak="south"), METRICS["accuracy"], ["region", "size"], how=QUICK)
    assert [(one.column, one.value) for one in slices if one.worse] == [("region", "south")]
    south = next(one for one in slices if one.value == "south")
    assert south.shortfall is not None
    assert south.shortfall.estimate == pytest.approx(0.3, abs=0.08)
    assert south.rest.rows + south.metric.rows == 2000


def test_slices_of_the_same_quality_are_rarely_called_worse() -> None:
    false = 0
    for seed in range(60):
        observed = binary(300, seed=seed)
        false += any(
            one.worse for one in metrics_by_slice(observed, METRICS["accuracy"], ["region", "size"], how=QUICK)
        )
    assert false <= 9  # Benjamini-Hochberg at .05: 3 of 60, three standard deviations more are 8


def test_a_slice_beside_which_the_metric_is_undefined_says_so() -> None:
    observed = regression(100)
    south = observed.x[:, 1] == 1
    observed.y[~south] = 1.0
    slices = metrics_by_slice(observed, METRICS["r2"], ["region"], how=QUICK)
    assert {one.value: one.rest.reason for one in slices} == {"south": "r2: all rows have the same value", "north": ""}


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_slices_of_few_rows_say_so(rows: int) -> None:
    observed = binary(rows)
    for one in metrics_by_slice(observed, METRICS["auc"], ["region", "size"], how=QUICK):
        assert one.metric.interval is not None or one.metric.reason
        assert not one.worse
    assert not any(
        one.worse for one in metrics_by_slice(without_labels(observed), METRICS["auc"], ["region"], how=QUICK)
    )


def test_slices_cover_each_row_once_with_missing_and_unseen_values() -> None:
    observed = binary(200)
    observed.x[:20] = np.nan
    observed.x[20:30, 1] = 2  # a category that the model does not know
    for column in ("size", "region"):
        slices = list(slices_of(observed, [column]))
        assert (np.sum([each.rows for each in slices], axis=0) == 1).all()
        assert slices[-1].value == "missing"
    assert {each.value for each in slices} == {"north", "south", "unseen", "missing"}


def test_slices_of_dates_constants_and_booleans_are_named() -> None:
    columns = tuple(ObservedColumn(kind, kind) for kind in ("datetime", "boolean", "numeric"))
    x = np.column_stack([np.arange(8) + 18262, np.arange(8) % 2, np.ones(8)]).astype(np.float32)
    plain = np.zeros(8)
    observed = ObservedRows(Task.REGRESSION, columns, x, plain, plain, plain, plain)
    names = [each.value for each in slices_of(observed, ["datetime", "boolean", "numeric"])]
    assert names[0] == "2020-01-01 to 2020-01-02"
    assert names[4:] == ["false", "true", "1 to 1"]
    with pytest.raises(InvalidRequest, match="no feature 'colour'"):
        list(slices_of(observed, ["colour"]))


def test_the_answer_survives_json() -> None:
    observed = binary(100)
    values = values_of(observed)
    performance = Performance(
        rows=100,
        labelled=100,
        metrics=values,
        over_time=metrics_over_time(observed, Window(0, 6000).parts(2), [METRICS["auc"]], how=QUICK),
        slices=metrics_by_slice(observed, METRICS["auc"], ["region"], how=QUICK),
        degradation=degradations(values, values, 0.05),
    )
    assert decode(Performance, encode(performance)) == performance
