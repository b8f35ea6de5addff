"""Screening statistics of target encodings: how much of a residual the residual's own out-of-fold means explain.

A curve of ranks is fixed while residuals are permuted; an encoding is made of labels, and would follow the chance in
them. So each permuted residual is encoded anew, and the bar is that of encodings of noise.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from optagent.arrays import Rows
from optagent.domain.model import Task
from optagent.errors import InvalidData
from optagent.features.quality import LEAK
from optagent.training.label_encoding import PRIOR_ROWS, encode_column, encoding_of
from optagent.training.label_parts import LabelParts, random_parts
from optagent.training.metrics import METRICS
from optagent.training.problem import Data
from optagent.training.steps import Step
from optagent.training.target_mean import TargetMean

Statistics = npt.NDArray[np.float64]

_MOST_PARTS = 16  # of rows in time order: each costs a pass over the cells
_BOTH_WAYS = 2.0  # without an order, each pair of rows counts twice, which doubles the variance by chance


def label_statistics(
    data: Data, step: TargetMean, residuals: npt.NDArray[np.float32], asked: npt.NDArray[np.float32]
) -> Statistics:
    """(questions, 1 + draws): the squared part of each residual along its own out-of-fold means, 0 where they point
    away from it.

    `residuals` are (rows, questions, 1 + draws), 0 where `asked` (rows, questions) is 0.
    """
    cells = encoding_of(step, data, 0).cells
    parts = (data.parts or random_parts(len(data))).merge(_MOST_PARTS)
    present = np.flatnonzero(cells >= 0)
    numbers, own = np.unique(cells[present], return_inverse=True)
    shape = len(numbers) * parts.count, len(data)
    places = own * parts.count + parts.part[present], present
    by_cell = csr_array((np.ones(len(present), dtype=np.float32), places), shape=shape)
    questions = range(asked.shape[1])
    return np.stack([_square_along_means(by_cell, residuals[:, each], asked[:, each], parts) for each in questions])


def _square_along_means(
    by_cell: csr_array, residuals: npt.NDArray[np.float32], asked: npt.NDArray[np.float32], parts: LabelParts
) -> Statistics:
    sums = np.asarray(by_cell @ residuals, dtype=np.float64).reshape(-1, parts.count, residuals.shape[1])
    counts = np.asarray(by_cell @ asked, dtype=np.float64).reshape(-1, parts.count, 1)
    means = parts.sum_others(sums) / (parts.sum_others(counts) + PRIOR_ROWS)
    along = np.maximum((means * sums).sum(axis=(0, 1)), 0.0)
    lengths = (np.square(means) * counts).sum(axis=(0, 1))
    explained = np.divide(np.square(along), lengths, out=np.zeros_like(along), where=lengths > 1e-9)
    return explained / (1.0 if parts.known is not None else _BOTH_WAYS)


def label_values(data: Data, step: TargetMean, rows: Rows) -> npt.NDArray[np.float32]:
    """(rows of the data,) the step's values for a model that is trained on `rows`: of the labels, only theirs are
    read."""
    parts = data.parts or random_parts(len(data))
    return encode_column(encoding_of(step, data, 0), data.y, rows, parts)


def without_leaks(data: Data, asked: npt.NDArray[np.bool_], steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps but those means of the target that tell the target by themselves, as a pair of columns may do."""
    rows = np.flatnonzero(asked)
    return tuple(step for step in steps if not (isinstance(step, TargetMean) and _leaks(data, step, rows)))


def _leaks(data: Data, step: TargetMean, rows: Rows) -> bool:
    values = label_values(data, step, rows)[rows].astype(np.float64)
    told = ~np.isnan(values)
    metric = METRICS["r2" if data.task is Task.REGRESSION else "auc"]
    try:
        return metric.score(data.y[rows][told], values[told]) > LEAK
    except InvalidData:  # one class, or one value
        return False
