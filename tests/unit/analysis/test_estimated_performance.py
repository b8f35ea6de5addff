from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from optagent.analysis.adaptive_estimation import fit_pape
from optagent.analysis.direct_loss_estimation import fit_loss_model
from optagent.analysis.estimated_performance import coverage, estimate_history, estimated_performance
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.codec import decode, encode
from optagent.domain.model import Task
from optagent.domain.performance import EstimatedPerformance
from optagent.domain.study import Interval
from optagent.errors import InvalidData
from optagent.training.metrics import monitored_metrics

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
BINARY = monitored_metrics(Task.BINARY)


def make_rows(prediction: np.ndarray, y: np.ndarray, x: np.ndarray | None = None, classes: int = 2) -> ObservedRows:
    rows = len(y)
    task = Task.REGRESSION if not classes else Task.BINARY if classes == 2 else Task.MULTICLASS
    x = np.zeros((rows, 1), np.float32) if x is None else x.astype(np.float32)
    columns = tuple(ObservedColumn(f"c{index}", "numeric") for index in range(x.shape[1]))
    return ObservedRows(task, columns, x, prediction, y, np.arange(rows, dtype=float), np.full(rows, np.nan), classes)


def parts(rows: ObservedRows, size: int) -> list[ObservedRows]:
    position = np.arange(len(rows))
    return [rows.where(position // size == index) for index in range(len(rows) // size)]


def miscalibrated_rows(rows: int, seed: int, hardness: float = 1.0) -> ObservedRows:
    """A model that claims its square root; a larger hardness has more rows in doubt."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(0.5 * hardness, hardness, rows)
    return make_rows(np.sqrt(truth), (rng.random(rows) < truth).astype(np.float64))


def test_the_estimate_follows_a_covariate_shift_of_the_car_loans() -> None:
    path = SHARED / "car_loan_synthetic.parquet"
    if not path.exists():
        pytest.skip("the shared car loan data is not here")
    table = pd.read_parquet(path, columns=["period", "repaid", "y_pred_proba"])
    before, now = (
        make_rows(part["y_pred_proba"].to_numpy(np.float64), part["repaid"].to_numpy(np.float64))
        for part in (table[table["period"] == "reference"], table[table["period"] == "analysis"])
    )
    estimator = fit_pape(before)
    auc = [metric for metric in BINARY if metric.name == "auc"]
    history = estimate_history(estimator, parts(now, 5000), auc)["auc"]
    assert len(history) == 10
    assert max(abs(interval.estimate - realised) for interval, realised in history) < 0.015
    assert all(interval.low <= realised <= interval.high for interval, realised in history)
    assert history[0][0].estimate - history[-1][0].estimate > 0.005  # the shift is seen
    assert estimated_performance(estimator, parts(now, 5000)[-1], auc, history={"auc": history}).trusted


def test_the_estimate_is_not_trusted_on_the_electricity_market() -> None:
    path = SHARED / "elec2.csv.gz"
    if not path.exists():
        pytest.skip("the shared electricity data is not here")
    from sklearn.ensemble import HistGradientBoostingClassifier

    table = pd.read_csv(path).drop(columns=["nswprice", "date"])
    y = (table.pop("class") == "UP").to_numpy(np.float64)
    x = table.to_numpy()
    fifth = len(y) // 5
    with threadpool_limits(1):
        model = HistGradientBoostingClassifier(random_state=0, max_iter=60).fit(x[:fifth], y[:fifth])
        later = make_rows(model.predict_proba(x[fifth:])[:, 1], y[fifth:])
    reference = later.where(np.arange(len(later)) < fifth // 2)
    estimator = fit_pape(reference, draws=100)
    windows = parts(later.where(np.arange(len(later)) >= fifth // 2), 336)  # weeks
    history = estimate_history(estimator, windows[:-1], BINARY)
    assert np.mean([interval.estimate - realised for interval, realised in history["auc"]]) > 0.03
    estimate = estimated_performance(estimator, windows[-1], BINARY, history=history)
    assert not estimate.trusted
    refuted = [metric for metric in estimate.metrics if metric.trusted is False]
    assert refuted
    assert all("the truth fell outside the estimate in" in metric.reason for metric in refuted)
    assert all(metric.reason in estimate.reason for metric in refuted)
    assert "cannot see concept drift" in estimate.caveat


def test_the_truth_falls_outside_the_interval_no_more_often_than_its_level_allows() -> None:
    estimator = fit_pape(miscalibrated_rows(4000, 0), draws=50)
    windows = [miscalibrated_rows(500, seed, hardness=3.0) for seed in range(1, 101)]
    history = estimate_history(estimator, windows, BINARY, alpha=0.1)
    assert set(history) == {"accuracy", "precision", "recall", "f1", "auc", "log_loss", "brier"}
    for name, pairs in history.items():
        past = coverage(pairs)
        assert past.missed <= 10 + 3 * 3, name  # three standard deviations of a binomial share of 100 windows
        bias = np.mean([interval.estimate - realised for interval, realised in pairs])
        assert abs(bias) < 0.03, name


def test_several_classes_are_estimated_without_bias() -> None:
    def world(rows: int, seed: int) -> ObservedRows:
        rng = np.random.default_rng(seed)
        truth = rng.dirichlet(np.full(3, 0.5), rows)
        y = (truth.cumsum(axis=1) < rng.random(rows)[:, None]).sum(axis=1).clip(max=2).astype(np.float64)
        claimed = np.sqrt(truth)
        return make_rows(claimed / claimed.sum(axis=1, keepdims=True), y, classes=3)

    estimator = fit_pape(world(4000, 0), draws=50)
    history = estimate_history(
        estimator, [world(1000, seed) for seed in range(1, 21)], monitored_metrics(Task.MULTICLASS)
    )
    assert set(history) == {"accuracy", "precision", "recall", "f1", "auc", "log_loss"}
    for name, pairs in history.items():
        assert abs(np.mean([interval.estimate - realised for interval, realised in pairs])) < 0.02, name


def test_an_estimate_without_past_labels_says_that_it_is_unchecked() -> None:
    estimate = estimated_performance(
        fit_pape(miscalibrated_rows(1000, 0), draws=20), miscalibrated_rows(100, 1), BINARY
    )
    assert estimate.trusted is None
    assert {metric.trusted for metric in estimate.metrics} == {None}
    assert estimate.reason == "not checked yet: 0 past windows have labels, 8 are needed"
    assert decode(EstimatedPerformance, encode(estimate)) == estimate


@pytest.mark.parametrize(("windows", "trusted"), [(7, None), (8, True)])
def test_an_estimate_is_trusted_once_enough_windows_have_checked_it(windows: int, trusted: bool | None) -> None:
    history = {"auc": [(Interval(0.5, 0.4, 0.6, 0.05), 0.5)] * windows}
    auc = [metric for metric in BINARY if metric.name == "auc"]
    estimator = fit_pape(miscalibrated_rows(1000, 0), draws=20)
    assert estimated_performance(estimator, miscalibrated_rows(100, 1), auc, history=history).trusted is trusted


def test_an_estimate_that_failed_is_refuted_before_it_counts_as_checked() -> None:
    history = {"auc": [(Interval(0.5, 0.4, 0.6, 0.05), 0.7)] * 3}
    estimator = fit_pape(miscalibrated_rows(1000, 0), draws=20)
    estimate = estimated_performance(estimator, miscalibrated_rows(100, 1), BINARY, history=history)
    assert estimate.trusted is False
    assert estimate.reason.startswith("auc: the truth fell outside the estimate in 3 of 3 past windows")


def test_a_stored_estimate_of_before_is_still_read() -> None:
    stored = (
        b'{"rows":100,"metrics":[{"name":"auc","maximize":true,"bounded":true,"trusted":true,"coverage":null,"reason":"",'
        b'"interval":{"estimate":0.8,"low":0.7,"high":0.9,"alpha":0.05}}],"trusted":true,"reason":"","caveat":""}'
    )
    assert decode(EstimatedPerformance, stored).metrics[0].trusted is True


def test_a_few_misses_are_chance_and_many_are_not() -> None:
    hit, missed = (Interval(0.5, 0.4, 0.6, 0.05), 0.5), (Interval(0.5, 0.4, 0.6, 0.05), 0.7)
    few, many = coverage([hit] * 19 + [missed]), coverage([hit] * 14 + [missed] * 6)
    assert (few.windows, few.missed) == (20, 1)
    assert few.p_value is not None
    assert few.p_value == pytest.approx(1 - 0.95**20)
    assert many.p_value is not None
    assert many.p_value < 0.001
    assert coverage([]).p_value is None


@pytest.mark.parametrize("rows", [0, 1, 29])
def test_too_few_rows_give_no_estimate(rows: int) -> None:
    estimate = estimated_performance(
        fit_pape(miscalibrated_rows(500, 0), draws=10), miscalibrated_rows(rows, 1), BINARY
    )
    assert (estimate.rows, estimate.metrics, estimate.trusted) == (rows, (), None)
    assert estimate.reason == f"{rows} rows, at least 30 are needed"


def test_constant_and_missing_predictions_do_not_crash() -> None:
    estimator = fit_pape(miscalibrated_rows(500, 0), draws=20)
    window = make_rows(np.full(60, 0.7), np.full(60, np.nan))
    window.prediction[:20] = np.nan
    estimate = estimated_performance(estimator, window, BINARY)
    assert estimate.rows == 40
    auc = next(metric for metric in estimate.metrics if metric.name == "auc")
    assert auc.interval.estimate == 0.5
    flat = fit_pape(make_rows(np.full(500, 0.5), np.arange(500) % 2.0), draws=20)
    assert estimated_performance(flat, make_rows(np.full(60, 0.5), np.full(60, np.nan)), BINARY).metrics
    refused = estimated_performance(flat, window, BINARY)
    assert refused.reason == "not estimated: 100.0% of the rows have values of the answer that the reference never had"


def test_a_reference_that_cannot_teach_is_refused() -> None:
    with pytest.raises(InvalidData, match="199 labelled rows, at least 200"):
        fit_pape(miscalibrated_rows(199, 0))
    with pytest.raises(InvalidData, match="one class"):
        fit_pape(make_rows(np.full(300, 0.5), np.ones(300)))
    with pytest.raises(InvalidData, match="for classifiers"):
        fit_pape(noisy(300, 0))
    with pytest.raises(InvalidData, match="of a binary model"):
        fit_loss_model(miscalibrated_rows(300, 0))
    with pytest.raises(InvalidData, match="100 labelled rows"):
        fit_loss_model(noisy(100, 0))


REGRESSION = monitored_metrics(Task.REGRESSION)


def noisy(rows: int, seed: int, centre: float = 0.0, factor: float = 1.0) -> ObservedRows:
    """A regression whose errors grow with the first feature; of a second nothing is known."""
    rng = np.random.default_rng(seed)
    feature = rng.normal(centre, 1, rows)
    y = feature + factor * np.exp(feature / 2) * rng.normal(size=rows)
    return make_rows(feature.copy(), y, np.column_stack([feature, np.full(rows, np.nan)]), classes=0)


def test_the_loss_model_follows_a_covariate_shift() -> None:
    estimator = fit_loss_model(noisy(4000, 0), draws=50)
    shifted = [noisy(500, seed, centre=0.7) for seed in range(1, 26)]
    history = estimate_history(estimator, shifted, REGRESSION, alpha=0.1)
    assert set(history) == {"mae", "rmse"}
    before = noisy(4000, 0)
    mae_before = float(np.abs(before.y - before.prediction).mean())
    pairs = history["mae"]
    realised = np.mean([each for _, each in pairs])
    assert realised > 1.25 * mae_before
    assert np.mean([interval.estimate for interval, _ in pairs]) == pytest.approx(realised, rel=0.1)
    assert coverage(pairs).missed <= 2.5 + 3 * 1.5


def test_the_loss_model_is_refused_where_errors_grew_for_no_reason_it_knows() -> None:
    estimator = fit_loss_model(noisy(2000, 0), draws=50)
    history = estimate_history(estimator, [noisy(300, seed, factor=1.5) for seed in range(1, 9)], REGRESSION)
    estimate = estimated_performance(estimator, noisy(300, 9), REGRESSION, history=history)
    assert not estimate.trusted
    assert estimate.metrics[0].coverage is not None
    assert estimate.metrics[0].coverage.missed == 8


def test_the_errors_that_the_loss_model_left_are_added_where_features_shift() -> None:
    """The feature that errors grow with is unknown to the answer, and no tree has seen its upper end often."""

    def world(rows: int, seed: int, centre: float = 0.0) -> ObservedRows:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(rows, 2)) + np.array([0.0, centre])
        return make_rows(x[:, 0], x[:, 0] + np.exp(0.4 * x[:, 1]) * rng.normal(size=rows), x, classes=0)

    estimator = fit_loss_model(world(4000, 0), draws=50)
    history = estimate_history(estimator, [world(500, seed, 1.0) for seed in range(1, 31)], REGRESSION)
    for name, pairs in history.items():
        bias = np.mean([interval.estimate / realised - 1 for interval, realised in pairs])
        assert abs(bias) < 0.05, name
        assert coverage(pairs).missed <= 4, name


def test_beyond_the_range_of_the_reference_there_is_no_estimate_of_a_regression() -> None:
    estimate = estimated_performance(fit_loss_model(noisy(2000, 0), draws=20), noisy(300, 1, centre=5.0), REGRESSION)
    assert estimate.metrics == ()
    assert estimate.trusted is None
    assert "that the reference never had" in estimate.reason


def test_the_calibration_follows_a_feature_that_the_score_does_not_know() -> None:
    def world(rows: int, seed: int, centre: float = 0.0) -> ObservedRows:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(rows, 2)) + np.array([0.0, centre])
        y = rng.random(rows) < 1 / (1 + np.exp(-x.sum(axis=1)))
        return make_rows(1 / (1 + np.exp(-x[:, 0])), y.astype(np.float64), x)

    estimator = fit_pape(world(4000, 0), draws=100)
    history = estimate_history(estimator, [world(500, seed, 1.0) for seed in range(1, 31)], BINARY)
    for name in ("accuracy", "log_loss", "brier"):
        assert abs(np.mean([interval.estimate - realised for interval, realised in history[name]])) < 0.02, name
        assert coverage(history[name]).missed <= 4, name


def test_rows_of_another_model_are_refused() -> None:
    with pytest.raises(InvalidData, match="predictions of 3 columns, those of the reference have 1"):
        fit_pape(miscalibrated_rows(500, 0), draws=10).estimate(
            make_rows(np.full((50, 3), 1 / 3), np.zeros(50)), BINARY, 0.1
        )
    with pytest.raises(InvalidData, match="1 features, those of the reference are 2"):
        fit_loss_model(noisy(300, 0), draws=10).estimate(miscalibrated_rows(50, 0), REGRESSION, 0.1)
