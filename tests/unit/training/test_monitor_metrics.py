import numpy as np
import pytest
import sklearn.metrics as sk

from optagent.domain.model import Task
from optagent.training.metrics import METRICS, _interpolate_rows, monitored_metrics

ERROR = METRICS["calibration_error"]


def test_the_monitor_reports_what_belongs_to_the_task() -> None:
    names = {task: [metric.name for metric in monitored_metrics(task)] for task in Task}
    assert names[Task.BINARY] == [
        "accuracy", "precision", "recall", "f1", "auc", "log_loss", "calibration_error", "brier"
    ]  # fmt: skip
    assert "brier" not in names[Task.MULTICLASS]
    assert names[Task.REGRESSION] == ["rmse", "mae", "r2", "pinball_50", "pinball_90"]


@pytest.mark.parametrize("task", list(Task))
def test_every_monitored_metric_is_fast_on_resamples_and_of_the_task(task: Task) -> None:
    for metric in monitored_metrics(task):
        assert metric.resampled is not None, metric.name
        assert task in metric.tasks


@pytest.mark.parametrize(("name", "quantile"), [("pinball_50", 0.5), ("pinball_90", 0.9)])
def test_pinball_losses_are_those_of_scikit_learn(name: str, quantile: float) -> None:
    rng = np.random.default_rng(0)
    y, prediction = rng.normal(size=(2, 100))
    assert METRICS[name].score(y, prediction) == pytest.approx(sk.mean_pinball_loss(y, prediction, alpha=quantile))


def by_hand(hit: np.ndarray, confidence: np.ndarray) -> float:
    order = np.argsort(confidence)
    parts = np.array_split(order, 10)
    return float(sum(abs(hit[part].mean() - confidence[part].mean()) * len(part) for part in parts) / len(hit))


def test_the_calibration_error_is_that_of_ten_bins_of_equal_mass() -> None:
    rng = np.random.default_rng(0)
    prediction = rng.random(200)
    y = (rng.random(200) < prediction**2).astype(np.float64)
    assert ERROR.score(y, prediction) == pytest.approx(by_hand(y, prediction))


def test_the_calibration_error_of_classes_is_that_of_the_most_probable_one() -> None:
    rng = np.random.default_rng(0)
    prediction = rng.dirichlet(np.ones(3), 200)
    y = rng.integers(0, 3, 200).astype(np.float64)
    hit = (prediction.argmax(axis=1) == y).astype(np.float64)
    assert ERROR.score(y, prediction) == pytest.approx(by_hand(hit, prediction.max(axis=1)))


def test_rows_of_equal_probability_are_one_whatever_their_order() -> None:
    y = np.array([1.0] * 30 + [0.0] * 70)
    prediction = np.full(100, 0.5)
    assert ERROR.score(y, prediction) == pytest.approx(0.2)
    assert ERROR.score(y[::-1].copy(), prediction) == pytest.approx(0.2)


def test_one_row_has_a_calibration_error() -> None:
    assert ERROR.score(np.array([1.0]), np.array([0.7])) == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_a_class_that_neither_occurs_nor_is_predicted_does_not_count(name: str) -> None:
    y = np.array([0.0, 1.0, 1.0, 0.0])
    prediction = np.eye(4)[[0, 1, 0, 0]] * 0.7 + 0.05
    expected = getattr(sk, f"{name}_score")(y, prediction.argmax(axis=1), average="macro")
    assert METRICS[name].score(y, prediction) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_nothing_predicted_scores_nothing(name: str) -> None:
    assert METRICS[name].score(np.array([0.0, 1.0]), np.array([0.1, 0.2])) == 0


def test_r2_is_undefined_where_all_drawn_rows_are_alike() -> None:
    y, prediction = np.array([1.1, 1.1, 2.0]), np.array([1.0, 1.5, 2.0])
    resampled = METRICS["r2"].resampled
    assert resampled is not None
    scores = resampled(y, prediction)(np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 1.0]]))
    assert np.isnan(scores[0])
    assert scores[1] == pytest.approx(sk.r2_score(y, prediction))


def test_differences_of_shares_are_absolute_and_of_losses_relative() -> None:
    bounded = {metric.name for task in Task for metric in monitored_metrics(task) if metric.bounded}
    assert bounded == {"accuracy", "precision", "recall", "f1", "auc", "calibration_error", "r2"}


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_rows_are_interpolated_as_numpy_interpolates_each(rows: int) -> None:
    rng = np.random.default_rng(rows)
    x = np.cumsum(rng.integers(0, 3, size=(30, rows)) * rng.random((30, rows)), axis=1) + 0.5
    y, at = rng.normal(size=x.shape), np.linspace(0, x[:, -1], 11).T
    one_by_one = [np.interp(points, [0, *each], [0, *values]) for points, each, values in zip(at, x, y, strict=True)]
    np.testing.assert_allclose(_interpolate_rows(at, x, y), one_by_one, rtol=1e-12, atol=1e-12)
