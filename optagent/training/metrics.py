"""Metrics by name. Predictions are as families give them: probabilities for classifiers, values for regressions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.problem import Vector

Prediction = npt.NDArray[np.float64]
Counts = npt.NDArray[np.float64]
Score = Callable[[Vector, Prediction], float]
Resampled = Callable[[Vector, Prediction], Callable[[Counts], Vector]]

_EPS = np.finfo(np.float64).eps
_CLASSIFIERS = (Task.BINARY, Task.MULTICLASS)
_REGRESSION = (Task.REGRESSION,)


@dataclass(frozen=True, slots=True)
class Metric:
    """One way to judge predictions against (rows,) class indexes or values.

    `resampled`, where there is one, scores many resamples at once: given the rows, it answers a function of
    (resamples, rows) counts, how often each row was drawn, that gives (resamples,) scores, NaN where undefined.
    """

    name: str
    maximize: bool
    tasks: tuple[Task, ...]
    compute: Score
    resampled: Resampled | None = None

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
    known = sorted(metric.name for metric in METRICS.values() if task in metric.tasks)
    if name not in known:
        raise InvalidRequest(f"unknown metric {name!r} for a {task} model; one of {known}")
    return METRICS[name]


def default_metric(task: Task) -> str:
    """The metric of a model that names none.

    >>> default_metric(Task.BINARY)
    'auc'
    """
    return {Task.BINARY: "auc", Task.MULTICLASS: "log_loss", Task.REGRESSION: "rmse"}[task]


def _auc(y: Vector, prediction: Prediction) -> float:
    area = float(_auc_resampled(y, prediction)(np.ones((1, len(y))))[0])
    if np.isnan(area):
        raise InvalidData("auc: all rows are of one class")
    return area


def _auc_resampled(y: Vector, prediction: Prediction) -> Callable[[Counts], Vector]:
    """The area of class 1, or the mean over the classes that occur, each against the rest."""
    if prediction.ndim == 1:
        return _area(y == 1, prediction)
    areas = [_area(y == index, prediction[:, index]) for index in range(prediction.shape[1])]

    def mean(counts: Counts) -> Vector:
        found = np.stack([area(counts) for area in areas])
        defined = ~np.isnan(found)
        return _share(np.where(defined, found, 0.0).sum(axis=0), defined.sum(axis=0))

    return mean


def _area(positive: npt.NDArray[np.bool_], score: Vector) -> Callable[[Counts], Vector]:
    """Share of (positive, negative) pairs in the right order, ties half (Mann and Whitney 1947)."""
    order = np.argsort(score)
    starts = np.flatnonzero(np.append(True, np.diff(score[order]) > 0))  # the first row of each run of equal scores
    ties = len(starts) < len(order)
    is_positive = positive[order].astype(np.float64)

    def area(counts: Counts) -> Vector:
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


def _mean_of(losses: Callable[[Vector, Prediction], Vector], root: bool = False) -> tuple[Score, Resampled]:
    """A metric that is the mean of a loss per row, or the root of that mean."""

    def score(y: Vector, prediction: Prediction) -> float:
        mean = float(losses(y, prediction).mean())
        return mean**0.5 if root else mean

    def resampled(y: Vector, prediction: Prediction) -> Callable[[Counts], Vector]:
        found = losses(y, prediction)
        power = 0.5 if root else 1.0
        return lambda counts: (counts @ found / counts.sum(axis=1)) ** power

    return score, resampled


def _log_losses(y: Vector, prediction: Prediction) -> Vector:
    if prediction.ndim == 1:
        chosen = np.where(y == 1, prediction, 1 - prediction)
    else:
        chosen = prediction[np.arange(len(y)), y.astype(np.int64)]
    return -np.log(np.clip(chosen, _EPS, 1 - _EPS))


def _labels(prediction: Prediction) -> npt.NDArray[np.int64]:
    return (prediction >= 0.5).astype(np.int64) if prediction.ndim == 1 else prediction.argmax(axis=1)


def _hits(y: Vector, prediction: Prediction) -> Vector:
    return (_labels(prediction) == y).astype(np.float64)


def _balanced_accuracy(y: Vector, prediction: Prediction) -> float:
    hits = _hits(y, prediction)
    return float(np.mean([hits[y == index].mean() for index in np.unique(y)]))


def _by_label(name: str) -> Score:
    """A scikit-learn metric of labels: of class 1, or the mean over classes; 0 where nothing was predicted."""

    def score(y: Vector, prediction: Prediction) -> float:
        import sklearn.metrics

        average = "binary" if prediction.ndim == 1 else "macro"
        function = getattr(sklearn.metrics, f"{name}_score")
        return float(function(y.astype(np.int64), _labels(prediction), average=average, zero_division=0.0))

    return score


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


def _median_ae(y: Vector, prediction: Prediction) -> float:
    return float(np.median(np.abs(y - prediction)))


METRICS = {
    metric.name: metric
    for metric in (
        Metric("auc", True, _CLASSIFIERS, _auc, _auc_resampled),
        Metric("average_precision", True, (Task.BINARY,), _average_precision),
        Metric("log_loss", False, _CLASSIFIERS, *_mean_of(_log_losses)),
        Metric("brier", False, (Task.BINARY,), *_mean_of(lambda y, prediction: np.square(y - prediction))),
        Metric("accuracy", True, _CLASSIFIERS, *_mean_of(_hits)),
        Metric("balanced_accuracy", True, _CLASSIFIERS, _balanced_accuracy),
        Metric("f1", True, _CLASSIFIERS, _by_label("f1")),
        Metric("precision", True, _CLASSIFIERS, _by_label("precision")),
        Metric("recall", True, _CLASSIFIERS, _by_label("recall")),
        Metric("rmse", False, _REGRESSION, *_mean_of(lambda y, prediction: np.square(y - prediction), root=True)),
        Metric("mae", False, _REGRESSION, *_mean_of(lambda y, prediction: np.abs(y - prediction))),
        Metric("r2", True, _REGRESSION, _r2),
        Metric("median_ae", False, _REGRESSION, _median_ae),
    )
}
