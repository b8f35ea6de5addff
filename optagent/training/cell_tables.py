"""Cell tables: numbers by category, or by a pair of categories, looked up for blocks of rows."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from optagent.arrays import Matrix
from optagent.training.steps import PairShare
from optagent.training.target_mean import TargetMean


def compile_cells(
    steps: Sequence[PairShare | TargetMean], place: Mapping[str, int]
) -> Callable[[Matrix, Matrix], None]:
    """Fills (rows, steps) from (rows, columns) with the number of each row's cell, or that of rows without one."""
    columns = [np.array([place[name] for name in step.columns], dtype=np.intp) for step in steps]
    tables = [cell_table(step) for step in steps]
    levels = [level_counts(step) for step in steps]

    def write(x: Matrix, out: Matrix) -> None:
        for position, (table, counts, own) in enumerate(zip(tables, levels, columns, strict=True)):
            codes = x.take(own, axis=1)
            known = np.all((codes >= 0) & (codes < np.array(counts)), axis=1)
            inside = np.where(known[:, None], codes, 0).astype(np.intp)
            cells = np.ravel_multi_index(tuple(inside.T), counts)
            out[:, position] = table[np.where(known, cells, len(table) - 1)]

    return write


def cell_table(step: PairShare | TargetMean) -> Matrix:
    """(cells + 1,) the number of each cell, by the codes of the first column, and last that of rows without a cell."""
    if isinstance(step, TargetMean):
        return np.array(step.means, dtype=np.float32)
    return np.append(np.array(step.shares, dtype=np.float32).ravel(), np.float32(np.nan))


def level_counts(step: PairShare | TargetMean) -> tuple[int, ...]:
    """The numbers of codes of the step's columns that its table knows."""
    return step.levels if isinstance(step, TargetMean) else step.sizes
