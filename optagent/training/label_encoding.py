"""Out-of-fold target encoding: mean labels by category, of which a training row never sees its own label.

A model trained on a mean that holds the row's own label believes in the mean more than in the category. So training
rows get the means of other parts (means: Micci-Barreca 2001, SIGKDD Explorations 3.1; out of fold: Prokhorenkova et al.
2018, CatBoost), and rows in time order those of earlier parts alone. All other rows get the means of the training rows,
as a served row does. Weights of rows take no part.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from optagent.arrays import Codes, Matrix, Matrix64, Rows, Vector
from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.training.families.binned import RecentValues, rows_key
from optagent.training.families.family import Cache, Family, Fit
from optagent.training.label_parts import LabelEncoding, LabelParts, random_parts
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Data
from optagent.training.target_mean import TargetMean

PRIOR_ROWS = 20.0
"""The overall mean counts as this many rows besides a category's own."""

_CACHED_CELLS = 20_000_000  # of the matrices of all folds that one worker keeps between trials
_CACHE = "label encodings"


def fit_target_mean(step: TargetMean, data: Data, rows: Rows | None = None) -> TargetMean:
    """The step with the means of these rows (all by default); raises InvalidRequest for a task of several classes."""
    if data.task is Task.MULTICLASS:
        raise InvalidRequest(f"step {step.name!r}: a target of {data.n_classes} classes has no mean")
    levels = _levels_of(step, data)
    cells = _cells_of(step, data)
    means = smoothed_means(*((cells, data.y) if rows is None else (cells[rows], data.y[rows])), math.prod(levels))
    return replace(step, means=tuple(means.tolist()), levels=levels)


def fit_label_steps(plan: FeaturePlan, data: Data) -> FeaturePlan:
    """The plan with means of these rows' labels: those of an earlier plan may know labels that are to judge."""
    if not any(isinstance(step, TargetMean) for step in plan.steps):
        return plan
    steps = (fit_target_mean(step, data) if isinstance(step, TargetMean) else step for step in plan.steps)
    return replace(plan, steps=tuple(steps))


def encoding_of(step: TargetMean, data: Data, column: int) -> LabelEncoding:
    """The codes of a step's categories in these rows, for a column of another matrix."""
    return LabelEncoding(column, _cells_of(step, data), math.prod(_levels_of(step, data)))


def smoothed_means(cells: Codes, y: Vector, count: int) -> Matrix:
    """(count + 1,) the mean label of each cell, drawn to the mean of all rows, and last that mean itself."""
    present = cells >= 0
    overall = float(y.mean()) if len(y) else 0.0
    counts = np.bincount(cells[present], minlength=count)
    sums = np.bincount(cells[present], weights=y[present], minlength=count)
    return np.append((sums + PRIOR_ROWS * overall) / (counts + PRIOR_ROWS), overall).astype(np.float32)


def means_of_other_parts(encoding: LabelEncoding, y: Vector, parts: LabelParts) -> Matrix:
    """(rows,) the same mean for each row, of the labels that its part learns from; NaN where there is none."""
    shape = (encoding.count + 1, parts.count)  # the first cell is that of missing categories
    flat = (encoding.cells + 1) * parts.count + parts.part

    def sum_others(weights: Vector) -> Matrix64:
        sums = np.bincount(flat, weights=weights, minlength=math.prod(shape)).astype(np.float64)
        return parts.sum_others(sums.reshape(shape))

    counts, sums = sum_others(np.ones_like(y)), sum_others(y)
    with np.errstate(invalid="ignore"):
        overall = sums.sum(axis=0) / counts.sum(axis=0)
    means = (sums + PRIOR_ROWS * overall) / (counts + PRIOR_ROWS)
    means[0] = overall
    return means[encoding.cells + 1, parts.part].astype(np.float32)


def encode_out_of_fold(data: Data, encodings: Sequence[LabelEncoding], x: Matrix) -> None:
    """Fills the columns of `x` that hold mean labels, as if all of the rows were trained on."""
    parts = data.parts or random_parts(len(data))
    for encoding in encodings:
        x[:, encoding.column] = means_of_other_parts(encoding, data.y, parts)


def encode_for_fold(data: Data, train: Rows) -> Data:
    """The rows as a model of the rows `train` is to see them: of the labels, only theirs are read."""
    if not data.encodings:
        return data
    x, parts = data.x.copy(), data.parts or random_parts(len(data))
    for encoding in data.encodings:
        x[:, encoding.column] = encode_column(encoding, data.y, train, parts)
    return replace(data, x=x, encodings=())


def encode_column(encoding: LabelEncoding, y: Vector, train: Rows, parts: LabelParts) -> Matrix:
    """(rows,) the means for a model of the rows `train`: theirs are of other parts, the others' are of all of them."""
    own = replace(encoding, cells=encoding.cells[train])
    column = smoothed_means(own.cells, y[train], encoding.count)[encoding.cells]
    column[train] = means_of_other_parts(own, y[train], parts.select_rows(train))
    return column


def start_fit(
    family: Family,
    params: Mapping[str, Any],
    data: Data,
    train: Rows,
    valid: Rows | None = None,
    *,
    seed: int = 0,
    threads: int = 1,
    cache: Cache | None = None,
) -> Fit:
    """`Family.start` with the labels of these training rows encoded. With a `cache`, a fold is encoded once."""
    if data.encodings:
        data, cache = _encode_once(data, train, cache)
    return family.start(params, data, train, valid, seed=seed, threads=threads, cache=cache)


def _encode_once(data: Data, train: Rows, cache: Cache | None) -> tuple[Data, Cache | None]:
    """The rows of a fold, and a cache of its own for what a family keeps of them."""
    if cache is None:
        return encode_for_fold(data, train), None
    owner, folds = cache.get(_CACHE, (None, None))
    if owner is not data:
        folds = RecentValues(max(1, _CACHED_CELLS // max(1, data.x.size)))
        cache[_CACHE] = (data, folds)
    fold: tuple[Data, Cache] = folds.get(rows_key(train), lambda: (encode_for_fold(data, train), {}))
    return fold


def _levels_of(step: TargetMean, data: Data) -> tuple[int, ...]:
    places = [data.names.index(name) for name in step.over]
    return tuple(data.levels[data.categorical.index(place)] for place in places)


def _cells_of(step: TargetMean, data: Data) -> Codes:
    """(rows,) the place of each row in the table of the step's means, -1 where a category is missing."""
    codes = data.x[:, [data.names.index(name) for name in step.over]]
    missing = np.any(np.isnan(codes), axis=1)
    known = np.where(missing[:, None], 0, codes).astype(np.int64)
    cells = np.ravel_multi_index(tuple(known.T), _levels_of(step, data))
    return np.where(missing, -1, cells)
