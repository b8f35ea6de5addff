"""Label scores: accuracy, precision, recall and F1 of the most probable class, on rows and on resamples of them."""

from collections.abc import Callable

import numpy as np

from optagent.arrays import Codes, Mask, Multiplicities, Prediction, Resampled, Score, Vector


def _predicted_labels(prediction: Prediction) -> Codes:
    return (prediction >= 0.5).astype(np.int64) if prediction.ndim == 1 else prediction.argmax(axis=1)


def row_hits(y: Vector, prediction: Prediction) -> Vector:
    """(rows,) 1 where the most probable class is the true one, 0 elsewhere."""
    return (_predicted_labels(prediction) == y).astype(np.float64)


def balanced_accuracy(y: Vector, prediction: Prediction) -> float:
    """The mean over the classes that occur of the share of their rows that are hit."""
    hits = row_hits(y, prediction)
    return float(np.mean([hits[y == index].mean() for index in np.unique(y)]))


def _label_metric(
    ratio: Callable[[Multiplicities, Multiplicities, Multiplicities], Multiplicities],
) -> tuple[Score, Resampled]:
    """The scorers of a metric of labels, from its ratio of hits, predicted and true rows: that of class 1, or the mean
    over the classes that occur or are predicted; 0 where undefined, as in scikit-learn with `zero_division=0`."""

    def score_resamples(y: Vector, prediction: Prediction) -> Callable[[Multiplicities], Vector]:
        labels, truth = _predicted_labels(prediction), y.astype(np.int64)
        classes = 2 if prediction.ndim == 1 else prediction.shape[1]
        hits = labels == truth
        groups = ((hits, truth), (~hits, labels), (~hits, truth))
        sums = [_sums_by_class(rows, row_classes, classes) for rows, row_classes in groups]

        def score(counts: Multiplicities) -> Vector:
            hit, false_alarms, missed = (class_sums(counts) for class_sums in sums)
            scores = ratio(hit, hit + false_alarms, hit + missed)
            if prediction.ndim == 1:
                return scores[:, 1]
            return scores.sum(axis=1) / (hit + false_alarms + missed > 0).sum(axis=1)

        return score

    return score_once(score_resamples), score_resamples


def score_once(resampled: Resampled) -> Score:
    """The scorer of the rows themselves, each drawn once."""
    return lambda y, prediction: float(resampled(y, prediction)(np.ones((1, len(y))))[0])


def _sums_by_class(rows: Mask, row_classes: Codes, classes: int) -> Callable[[Multiplicities], Multiplicities]:
    """A function from (resamples, rows) counts to (resamples, classes) sums over `rows`, each added to its class."""
    from scipy.sparse import csr_array

    members = np.flatnonzero(rows)
    membership = csr_array((np.ones(len(members)), (row_classes[members], members)), shape=(classes, len(rows)))
    return lambda counts: (membership @ counts.T).T


def _ratio(part: Multiplicities, whole: Multiplicities) -> Multiplicities:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


PRECISION = _label_metric(lambda hit, predicted, true: _ratio(hit, predicted))
RECALL = _label_metric(lambda hit, predicted, true: _ratio(hit, true))
F1 = _label_metric(lambda hit, predicted, true: _ratio(2 * hit, predicted + true))
