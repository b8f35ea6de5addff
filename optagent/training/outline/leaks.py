"""Leak search: columns that tell the target almost alone, found one by one on half of a sample and tried on the other.

A column is cut into at most 64 bins of equal counts (numbers and dates) or its values (texts and booleans), with a bin
of their own for rows without a value, since a date that only some rows have may be the label itself. The mean of the
target in each bin of the one half predicts the other half: an id, unknown there, predicts nothing.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.arrays import Vector
from optagent.domain.model import Task
from optagent.training.columns import Kind, kind_of
from optagent.training.metrics import METRICS
from optagent.training.outline.model_outline import Remark
from optagent.training.values import as_column

LEAK = 0.99
"""The score from which a column counts as a leak: AUC, balanced accuracy or R2."""

_BINS = 64
_QUANTILES = np.linspace(0, 1, _BINS + 1)[1:-1]
_LEAST = 20  # rows of a class in each half; fewer may be told apart by chance
_LEAST_ROWS = 100  # of a regression, in each half

Codes = npt.NDArray[np.int64]


def find_leaks(sample: pa.Table, names: list[str], y: Vector, task: Task, classes: int) -> list[Remark]:
    """Those of the columns that predict `y` (class indexes or values of the sample's rows) almost alone."""
    fit = first_half(len(y))
    if not is_enough(y, fit, task, classes):
        return []
    metric = metric_name(task)
    leaks = []
    for name in names:
        score = codes_score(column_codes(sample.column(name)), y, fit, task, classes)
        if score >= LEAK:
            leaks.append(Remark(name, f"tells the target almost alone ({metric} {score:.3f} by itself)"))
    return leaks


def metric_name(task: Task) -> str:
    """The metric by which leaks of a task are told."""
    return {Task.BINARY: "auc", Task.MULTICLASS: "balanced_accuracy"}.get(task, "r2")


def first_half(rows: int) -> npt.NDArray[np.bool_]:
    """True for a random half of the rows, always the same, whose targets predict those of the others."""
    return np.random.default_rng(0).permutation(rows) < rows // 2


def is_enough(y: Vector, fit: npt.NDArray[np.bool_], task: Task, classes: int) -> bool:
    """True where each half has rows enough to tell a leak from chance."""
    if not task.classifies:
        return len(y) >= 2 * _LEAST_ROWS
    halves = (np.bincount(y[half].astype(np.int64), minlength=classes) for half in (fit, ~fit))
    return min(int(counts.min()) for counts in halves) >= _LEAST


def codes_score(codes: Codes, y: Vector, fit: npt.NDArray[np.bool_], task: Task, classes: int) -> float:
    """The score on the second half of what the bins of the first one predict; the metrics need two values of `y`."""
    bins = int(codes.max()) + 1
    counts = np.bincount(codes[fit], minlength=bins)
    labels = np.eye(classes)[y.astype(np.int64)] if task is Task.MULTICLASS else y[:, None]
    sums = np.stack([np.bincount(codes[fit], weights=column[fit], minlength=bins) for column in labels.T], axis=1)
    overall = labels[fit].mean(axis=0)
    means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], overall)
    prediction = means[codes[~fit]]
    if task is Task.MULTICLASS:
        return METRICS["balanced_accuracy"].score(y[~fit], prediction)
    return METRICS["r2" if task is Task.REGRESSION else "auc"].score(y[~fit], prediction[:, 0])


def column_codes(values: pa.ChunkedArray) -> Codes:
    """The bin of each row; 0 is that of rows without a value."""
    kind = kind_of(values.type)
    assert kind is not None, "columns of other types are not looked at"
    if kind in (Kind.CATEGORICAL, Kind.BOOLEAN):
        values = pc.cast(values, values.type.value_type) if pt.is_dictionary(values.type) else values
        indices = values.combine_chunks().dictionary_encode().indices
        return np.asarray(pc.fill_null(pc.add(pc.cast(indices, pa.int64()), 1), 0).to_numpy(zero_copy_only=False))
    return number_codes(np.asarray(pc.fill_null(as_column(values, kind), np.nan).to_numpy(), dtype=np.float64))


def number_codes(numbers: Vector) -> Codes:
    """The bin of each number: at most 64 of equal counts, and 0 for what is not finite."""
    present = np.isfinite(numbers)
    codes = np.zeros(len(numbers), np.int64)
    if present.any():
        values = np.unique(numbers[present])
        edges = values if len(values) <= _BINS else np.unique(np.quantile(numbers[present], _QUANTILES))
        codes[present] = 1 + np.searchsorted(edges, numbers[present], side="right")
    return codes
