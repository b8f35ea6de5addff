import subprocess
import sys

import numpy as np
import pytest
import sklearn.metrics as sk

from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.metrics import METRICS, Metric, default_metric, metric_named

RNG = np.random.default_rng(0)
ROWS = 500
BINARY_Y = (RNG.random(ROWS) < 0.3).astype(np.float64)
BINARY_P = np.clip(0.3 * BINARY_Y + 0.7 * RNG.random(ROWS), 0, 1)
MULTI_Y = RNG.integers(0, 4, ROWS).astype(np.float64)
MULTI_P = RNG.dirichlet(np.ones(4), ROWS) * 0.6 + 0.4 * np.eye(4)[MULTI_Y.astype(int)]
VALUE_Y = RNG.normal(size=ROWS)
VALUE_P = VALUE_Y + RNG.normal(size=ROWS)
LABELS = (BINARY_P >= 0.5).astype(int)
CLASSES = MULTI_P.argmax(axis=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auc", sk.roc_auc_score(BINARY_Y, BINARY_P)),
        ("average_precision", sk.average_precision_score(BINARY_Y, BINARY_P)),
        ("log_loss", sk.log_loss(BINARY_Y, BINARY_P)),
        ("brier", sk.brier_score_loss(BINARY_Y, BINARY_P)),
        ("accuracy", sk.accuracy_score(BINARY_Y, LABELS)),
        ("balanced_accuracy", sk.balanced_accuracy_score(BINARY_Y, LABELS)),
        ("f1", sk.f1_score(BINARY_Y, LABELS)),
        ("precision", sk.precision_score(BINARY_Y, LABELS)),
        ("recall", sk.recall_score(BINARY_Y, LABELS)),
    ],
)
def test_binary_metrics_are_those_of_scikit_learn(name: str, expected: float) -> None:
    assert metric_named(name, Task.BINARY).score(BINARY_Y, BINARY_P) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auc", sk.roc_auc_score(MULTI_Y, MULTI_P, multi_class="ovr")),
        ("log_loss", sk.log_loss(MULTI_Y, MULTI_P)),
        ("accuracy", sk.accuracy_score(MULTI_Y, CLASSES)),
        ("balanced_accuracy", sk.balanced_accuracy_score(MULTI_Y, CLASSES)),
        ("f1", sk.f1_score(MULTI_Y, CLASSES, average="macro")),
        ("precision", sk.precision_score(MULTI_Y, CLASSES, average="macro")),
        ("recall", sk.recall_score(MULTI_Y, CLASSES, average="macro")),
    ],
)
def test_multiclass_metrics_are_those_of_scikit_learn(name: str, expected: float) -> None:
    assert metric_named(name, Task.MULTICLASS).score(MULTI_Y, MULTI_P) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rmse", sk.root_mean_squared_error(VALUE_Y, VALUE_P)),
        ("mae", sk.mean_absolute_error(VALUE_Y, VALUE_P)),
        ("r2", sk.r2_score(VALUE_Y, VALUE_P)),
        ("median_ae", sk.median_absolute_error(VALUE_Y, VALUE_P)),
    ],
)
def test_regression_metrics_are_those_of_scikit_learn(name: str, expected: float) -> None:
    assert metric_named(name, Task.REGRESSION).score(VALUE_Y, VALUE_P) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("digits", [0, 1, 2])
def test_auc_counts_ties_half(digits: int) -> None:
    tied = np.round(BINARY_P, digits)
    assert METRICS["auc"].score(BINARY_Y, tied) == pytest.approx(sk.roc_auc_score(BINARY_Y, tied), abs=1e-12)


def test_auc_of_classes_skips_those_that_do_not_occur() -> None:
    rows = MULTI_Y < 3
    each = [sk.roc_auc_score(MULTI_Y[rows] == index, MULTI_P[rows, index]) for index in range(3)]
    assert METRICS["auc"].score(MULTI_Y[rows], MULTI_P[rows]) == pytest.approx(np.mean(each), abs=1e-12)


def data_for(metric: Metric, task: Task) -> tuple[np.ndarray, np.ndarray]:
    data = {Task.BINARY: (BINARY_Y, np.round(BINARY_P, 2)), Task.MULTICLASS: (MULTI_Y, MULTI_P)}
    return data.get(task, (VALUE_Y, VALUE_P))


@pytest.mark.parametrize(
    ("metric", "task"),
    [(metric, task) for metric in METRICS.values() if metric.resampled for task in metric.tasks],
    ids=lambda value: getattr(value, "name", None),
)
def test_resampled_scores_are_the_scores_of_the_drawn_rows(metric: Metric, task: Task) -> None:
    y, prediction = data_for(metric, task)
    counts = np.random.default_rng(1).multinomial(ROWS, np.full(ROWS, 1 / ROWS), size=5).astype(np.float64)
    assert metric.resampled is not None
    scores = metric.resampled(y, prediction)(counts)
    samples = [np.repeat(np.arange(ROWS), count.astype(int)) for count in counts]
    assert scores == pytest.approx([metric.score(y[rows], prediction[rows]) for rows in samples], abs=1e-12)


def test_a_certain_mistake_has_a_finite_log_loss() -> None:
    assert METRICS["log_loss"].score(np.array([1.0, 0.0]), np.array([0.0, 0.0])) == pytest.approx(
        sk.log_loss([1, 0], [0.0, 0.0]), rel=1e-9
    )


@pytest.mark.parametrize("name", ["auc", "average_precision"])
def test_a_ranking_of_one_class_is_refused(name: str) -> None:
    with pytest.raises(InvalidData, match=name):
        METRICS[name].score(np.zeros(5), np.linspace(0, 1, 5))


def test_predictions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidData, match="2 predictions for 3 rows"):
        METRICS["rmse"].score(np.arange(3.0), np.zeros(2))
    with pytest.raises(InvalidData, match="not finite"):
        METRICS["rmse"].score(np.arange(2.0), np.array([0, np.nan]))
    with pytest.raises(InvalidData, match="0 predictions"):
        METRICS["rmse"].score(np.empty(0), np.empty(0))
    with pytest.raises(InvalidData, match="r2"):
        METRICS["r2"].score(np.ones(3), np.arange(3.0))


def test_an_unknown_metric_lists_those_of_the_task() -> None:
    with pytest.raises(
        InvalidRequest, match=r"unknown metric 'auc' for a regression model; one of \['mae', 'median_ae"
    ):
        metric_named("auc", Task.REGRESSION)


@pytest.mark.parametrize(("task", "name"), [("binary", "auc"), ("multiclass", "log_loss"), ("regression", "rmse")])
def test_no_name_means_the_default_of_the_task(task: str, name: str) -> None:
    assert default_metric(Task(task)) == metric_named("", Task(task)).name == name


def test_naming_a_metric_does_not_load_scikit_learn() -> None:
    code = "import sys, optagent.training.metrics; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
