"""Metrics of predictions, by name. Families predict probabilities for classifiers and values for regressions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.arrays import Multiplicities, Prediction, Resampled, Score, Vector
from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.label_scores import F1, PRECISION, RECALL, balanced_accuracy, row_hits, score_once

_EPS = np.finfo(np.float64).eps
_BINS = 10
_CLASSIFIERS = (Task.BINARY, Task.MULTICLASS)
_REGRESSION = (Task.REGRESSION,)
_PINBALL, _LEVELS = "pinball_", (1, 5, 10, 25, 50, 75, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of predictions against (rows,) class indexes or values.

    `resampled`, where there is one, scores many resamples at once: given the rows, it returns a function of
    (resamples, rows) counts, how often each row was drawn, that gives (resamples,) scores, NaN where undefined.
    Differences of a `bounded` metric are read as they are; those of another as a share of its value. A metric that
    `needs_classes` is undefined on rows that are all of one class.
    """

    name: str
    maximize: bool
    tasks: tuple[Task, ...]
    compute: Score
    resampled: Resampled | None = None
    bounded: bool = False
    needs_classes: bool = False

    def score(self, y: Vector, prediction: Prediction) -> float:
        """Raises InvalidData for predictions that do not fit the rows, and where the metric is undefined on them."""
        if not len(y) or len(prediction) != len(y):
            raise InvalidData(f"{self.name}: {len(prediction)} predictions for {len(y)} rows")
        if not np.isfinite(prediction).all():
            raise InvalidData(f"{self.name}: the predictions hold a value that is not finite")
        return float(self.compute(y, prediction))


def metric_named(name: str, task: Task) -> Metric:
    """The metric of that name, or the task's default for an empty one; InvalidRequest lists those of the task."""
    name = name or default_metric(task)
    names = sorted(metric.name for metric in METRICS.values() if task in metric.tasks)
    if name not in names:
        raise InvalidRequest(f"unknown metric {name!r} for a {task} model; one of {names}")
    return METRICS[name]


def default_metric(task: Task) -> str:
    """The metric of a model that does not name one.

    >>> default_metric(Task.BINARY)
    'auc'
    """
    return {Task.BINARY: "auc", Task.MULTICLASS: "log_loss", Task.REGRESSION: "rmse"}[task]


def _auc(y: Vector, prediction: Prediction) -> float:
    area = float(_auc_resampled(y, prediction)(np.ones((1, len(y))))[0])
    if np.isnan(area):
        raise InvalidData("auc: all rows are of one class")
    return area


def _auc_resampled(y: Vector, prediction: Prediction) -> Callable[[Multiplicities], Vector]:
    """The area of class 1, or the mean over the classes that occur, each against the rest."""
    if prediction.ndim == 1:
        return _area(y == 1, prediction)
    areas = [_area(y == index, prediction[:, index]) for index in range(prediction.shape[1])]

    def mean(counts: Multiplicities) -> Vector:
        scores = np.stack([area(counts) for area in areas])
        defined = ~np.isnan(scores)
        return _share(np.where(defined, scores, 0.0).sum(axis=0), defined.sum(axis=0))

    return mean


def _area(positive: npt.NDArray[np.bool_], score: Vector) -> Callable[[Multiplicities], Vector]:
    """Share of (positive, negative) pairs in the right order, ties half (Mann and Whitney 1947)."""
    order = np.argsort(score)
    starts = np.flatnonzero(np.append(True, np.diff(score[order]) > 0))  # the first row of each run of equal scores
    ties = len(starts) < len(order)
    is_positive = positive[order].astype(np.float64)

    def area(counts: Multiplicities) -> Vector:
        drawn = np.take(counts, order, axis=1)
        positives = drawn * is_positive
        drawn -= positives
        if ties:
            positives, drawn = np.add.reduceat(positives, starts, axis=1), np.add.reduceat(drawn, starts, axis=1)
        below = np.cumsum(drawn, axis=1)
        pairs = positives.sum(axis=1) * below[:, -1]
        drawn *= 0.5
        below -= drawn
        return _share(np.einsum("ij,ij->i", positives, below), pairs)

    return area


def _share(part: Vector, whole: Vector) -> Vector:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _loss_metric(losses: Callable[[Vector, Prediction], Vector], root: bool = False) -> tuple[Score, Resampled]:
    """The scorers of a metric that is the mean of a loss per row, or the root of that mean."""

    def score(y: Vector, prediction: Prediction) -> float:
        mean = float(losses(y, prediction).mean())
        return mean**0.5 if root else mean

    def score_resamples(y: Vector, prediction: Prediction) -> Callable[[Multiplicities], Vector]:
        row_losses = losses(y, prediction)
        power = 0.5 if root else 1.0
        return lambda counts: (counts @ row_losses / counts.sum(axis=1)) ** power

    return score, score_resamples


def _log_losses(y: Vector, prediction: Prediction) -> Vector:
    if prediction.ndim == 1:
        probability = np.where(y == 1, prediction, 1 - prediction)
    else:
        probability = prediction[np.arange(len(y)), y.astype(np.int64)]
    return -np.log(np.clip(probability, _EPS, 1 - _EPS))


def _calibration_error_resampled(y: Vector, prediction: Prediction) -> Callable[[Multiplicities], Vector]:
    """Expected calibration error (Naeini et al. 2015) on ten bins of equal mass of the probability of class 1, or of
    the most probable class. Rows of equal probability share the bins that they fall into."""
    if prediction.ndim == 1:
        confidence, hit = prediction, y
    else:
        confidence, hit = prediction.max(axis=1), row_hits(y, prediction)
    order = np.argsort(confidence, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(confidence[order]) > 0))
    excess = (hit - confidence)[order]

    def error(counts: Multiplicities) -> Vector:
        drawn = np.take(counts, order, axis=1)
        mass = np.cumsum(np.add.reduceat(drawn, starts, axis=1), axis=1)
        over = np.cumsum(np.add.reduceat(drawn * excess, starts, axis=1), axis=1)
        cuts = np.linspace(0, mass[:, -1], _BINS + 1).T
        return np.asarray(np.abs(np.diff(_interpolate_rows(cuts, mass, over))).sum(axis=1) / mass[:, -1])

    return error


def _interpolate_rows(at: Multiplicities, x: Multiplicities, y: Multiplicities) -> Multiplicities:
    """(rows, points): each row's piecewise linear function through the origin and (x, y), at its own points, which lie
    between 0 and the last x. The numbers are those of `numpy.interp` row by row, several times faster for few rows."""
    rows = np.arange(len(x))[:, None]
    left = np.stack([row.searchsorted(points, side="right") for row, points in zip(x, at, strict=True)]) - 1
    right = np.minimum(left + 1, x.shape[1] - 1)
    start, value = (np.where(left < 0, 0.0, values[rows, left]) for values in (x, y))
    width = x[rows, right] - start
    slope = np.divide(y[rows, right] - value, width, out=np.zeros_like(at), where=width > 0)
    return np.asarray(slope * (at - start) + value)


def quantile_of(metric: str) -> float | None:
    """The quantile that a metric asks a model to answer; None where it asks for another answer.

    >>> quantile_of("pinball_90"), quantile_of("rmse")
    (0.9, None)
    """
    return int(metric.removeprefix(_PINBALL)) / 100 if metric.startswith(_PINBALL) else None


def _pinball(quantile: float) -> tuple[Score, Resampled]:
    """The loss of a forecast of this quantile (Koenker and Bassett 1978)."""
    return _loss_metric(
        lambda y, prediction: np.maximum(quantile * (y - prediction), (quantile - 1) * (y - prediction))
    )


def _average_precision(y: Vector, prediction: Prediction) -> float:
    from sklearn.metrics import average_precision_score

    if not (y == 1).any():
        raise InvalidData("average_precision: no row is of the positive class")
    return float(average_precision_score(y == 1, prediction))


def _r2(y: Vector, prediction: Prediction) -> float:
    spread = float(np.square(y - y.mean()).sum())
    if spread == 0:
        raise InvalidData("r2: all rows have the same value")
    return 1 - float(np.square(y - prediction).sum()) / spread


def _r2_resampled(y: Vector, prediction: Prediction) -> Callable[[Multiplicities], Vector]:
    centred = y - y.mean()
    sums = np.column_stack([np.ones(len(y)), centred, np.square(centred), np.square(y - prediction)])

    def score(counts: Multiplicities) -> Vector:
        rows, total, squares, errors = (counts @ sums).T
        spread = squares - np.square(total) / rows
        # Rounding leaves a trace of spread where all drawn values are equal.
        return 1 - _share(errors, np.where(spread > 1e-12 * squares, spread, 0.0))

    return score


def _median_ae(y: Vector, prediction: Prediction) -> float:
    return float(np.median(np.abs(y - prediction)))


METRICS = {
    metric.name: metric
    for metric in (
        Metric("auc", True, _CLASSIFIERS, _auc, _auc_resampled, bounded=True, needs_classes=True),
        Metric("average_precision", True, (Task.BINARY,), _average_precision, bounded=True, needs_classes=True),
        Metric("log_loss", False, _CLASSIFIERS, *_loss_metric(_log_losses)),
        Metric("brier", False, (Task.BINARY,), *_loss_metric(lambda y, prediction: np.square(y - prediction))),
        Metric("accuracy", True, _CLASSIFIERS, *_loss_metric(row_hits), bounded=True),
        Metric("balanced_accuracy", True, _CLASSIFIERS, balanced_accuracy, bounded=True, needs_classes=True),
        Metric("f1", True, _CLASSIFIERS, *F1, bounded=True, needs_classes=True),
        Metric("precision", True, _CLASSIFIERS, *PRECISION, bounded=True, needs_classes=True),
        Metric("recall", True, _CLASSIFIERS, *RECALL, bounded=True, needs_classes=True),
        Metric(
            "calibration_error",
            False,
            _CLASSIFIERS,
            score_once(_calibration_error_resampled),
            _calibration_error_resampled,
            bounded=True,
        ),
        Metric("rmse", False, _REGRESSION, *_loss_metric(lambda y, prediction: np.square(y - prediction), root=True)),
        Metric("mae", False, _REGRESSION, *_loss_metric(lambda y, prediction: np.abs(y - prediction))),
        Metric("r2", True, _REGRESSION, _r2, _r2_resampled, bounded=True),
        Metric("median_ae", False, _REGRESSION, _median_ae),
        *(Metric(f"{_PINBALL}{level:02d}", False, _REGRESSION, *_pinball(level / 100)) for level in _LEVELS),
    )
}

_OF_CLASSES = ("accuracy", "precision", "recall", "f1", "auc", "log_loss", "calibration_error")
_MONITORED = {
    Task.BINARY: (*_OF_CLASSES, "brier"),
    Task.MULTICLASS: _OF_CLASSES,
    Task.REGRESSION: ("rmse", "mae", "r2", "pinball_50", "pinball_90"),
}


def monitored_metrics(task: Task, metric: str = "") -> list[Metric]:
    """The metrics that the monitor reports for a model of this task; a `metric` that asks for a quantile is one more.

    >>> [metric.name for metric in monitored_metrics(Task.REGRESSION, "pinball_10")]
    ['rmse', 'mae', 'r2', 'pinball_50', 'pinball_90', 'pinball_10']
    """
    names = _MONITORED[task]
    asks_more = quantile_of(metric) is not None and metric not in names
    return [METRICS[name] for name in ((*names, metric) if asks_more else names)]
