"""Confidence of a classifier: its calibration where labels are known, its entropy, and slices where it is unsure."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import false_discovery_control, norm

from optagent.analysis.bootstrap import Resampling
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import IN_TIME, LEAST_ROWS, Measure, metric_values, predicted_rows
from optagent.analysis.slices import Slice, slices_of
from optagent.arrays import Vector
from optagent.domain.performance import CalibrationPoint, Certainty, ModelConfidence, UncertainSlice

_BINS = 10
_MORE, _TIMES = 0.1, 1.5  # than in the reference, as a share of the predictions


def confidence(
    current: ObservedRows,
    reference: Certainty | None,
    threshold: float,
    calibration_error: Measure,
    slices: Sequence[str] = (),
    how: Resampling = IN_TIME,
) -> ModelConfidence | None:
    """The certainty of a window beside the reference's; None for a regression, which gives no probabilities.

    `slices` are feature columns; their values with significantly more uncertain rows are named, at a false discovery
    rate of .05.
    """
    if not current.task.classifies:
        return None
    return ModelConfidence(
        threshold,
        certainty(current, threshold, calibration_error, how=how),
        reference,
        uncertain_slices(current, threshold, slices) if slices else (),
    )


def certainty(
    observed: ObservedRows,
    threshold: float,
    calibration_error: Measure,
    alpha: float = 0.05,
    how: Resampling = IN_TIME,
) -> Certainty:
    """The certainty of a classifier's rows; a figure for which there are too few rows is None."""
    rows = observed.where(predicted_rows(observed))
    labelled = int(rows.has_label.sum())
    if not len(rows):
        return Certainty(0, 0)
    error = metric_values(rows, [calibration_error], alpha, how)[0]
    return Certainty(
        rows=len(rows),
        labelled=labelled,
        entropy=float(_entropy(rows.prediction).mean()),
        uncertain=float((top_probability(rows.prediction) < threshold).mean()),
        curve=_calibration_curve(rows.where(rows.has_label)) if labelled >= LEAST_ROWS else (),
        calibration_error=error,
    )


def uncertainty(observed: ObservedRows, threshold: float) -> Certainty:
    """The certainty of a classifier's rows as far as no label tells: the share of uncertain predictions."""
    rows = observed.where(predicted_rows(observed))
    labelled = int(rows.has_label.sum())
    if not len(rows):
        return Certainty(0, 0)
    return Certainty(len(rows), labelled, uncertain=float((top_probability(rows.prediction) < threshold).mean()))


def is_less_certain(current: Certainty, reference: Certainty | None) -> bool:
    """True where so many more predictions are uncertain that people are told of it, unless it is chance."""
    now, then = current.uncertain, None if reference is None else reference.uncertain
    return then is not None and now is not None and now - then >= _MORE and now >= _TIMES * then


def top_probability(prediction: Vector) -> Vector:
    """(rows,) probability of the most probable class."""
    return np.maximum(prediction, 1 - prediction) if prediction.ndim == 1 else prediction.max(axis=1)


def uncertain_slices(
    observed: ObservedRows, threshold: float, columns: Sequence[str], alpha: float = 0.05
) -> tuple[UncertainSlice, ...]:
    """Slices with significantly more uncertain rows than the rest, by one-sided tests of two shares, taken together."""
    rows = observed.where(predicted_rows(observed))
    unsure = top_probability(rows.prediction) < threshold
    parts = [each for each in slices_of(rows, columns) if LEAST_ROWS <= each.rows.sum() <= len(rows) - LEAST_ROWS]
    slices = [_compare_slice(each, unsure) for each in parts]
    if not slices:
        return ()
    p_values = false_discovery_control([one.p_value for one in slices])
    uncertain = [
        UncertainSlice(one.column, one.value, one.rows, one.uncertain, one.rest, float(p_value))
        for one, p_value in zip(slices, p_values, strict=True)
        if p_value <= alpha
    ]
    return tuple(sorted(uncertain, key=lambda one: (one.p_value, one.rest - one.uncertain)))


def _compare_slice(part: Slice, unsure: npt.NDArray[np.bool_]) -> UncertainSlice:
    inside, outside = int(part.rows.sum()), int((~part.rows).sum())
    share, rest = float(unsure[part.rows].mean()), float(unsure[~part.rows].mean())
    pooled = float(unsure.mean())
    spread = (pooled * (1 - pooled) * (1 / inside + 1 / outside)) ** 0.5
    p_value = float(norm.sf((share - rest) / spread)) if spread > 0 else 1.0
    return UncertainSlice(part.column, part.value, inside, share, rest, p_value)


def _entropy(prediction: Vector) -> Vector:
    """(rows,) entropies between 0 and 1; 1 where all classes are equally probable."""
    each = np.column_stack([prediction, 1 - prediction]) if prediction.ndim == 1 else prediction
    if each.shape[1] < 2:
        return np.zeros(len(each))
    logs = np.log(each, out=np.zeros_like(each), where=each > 0)
    return np.clip(-(each * logs).sum(axis=1) / np.log(each.shape[1]), 0.0, 1.0)


def _calibration_curve(labelled: ObservedRows) -> tuple[CalibrationPoint, ...]:
    """Ten bins of about equal counts by the probability of class 1, or of the most probable class; ties share a bin."""
    prediction, y = labelled.prediction, labelled.y
    if prediction.ndim == 1:
        predicted, hit = prediction, y
    else:
        predicted, hit = prediction.max(axis=1), (prediction.argmax(axis=1) == y).astype(np.float64)
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, _BINS + 1)[1:-1], method="inverted_cdf"))
    bins = np.searchsorted(edges, predicted, side="left")
    points = []
    for index in np.unique(bins):
        inside = bins == index
        points.append(CalibrationPoint(float(predicted[inside].mean()), float(hit[inside].mean()), int(inside.sum())))
    return tuple(points)
