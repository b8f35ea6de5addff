"""Oblivious attribution: exact SHAP values of CatBoost's trees on numbers and on the statistics of categories."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Matrix64
from optagent.serving.attribution_trees import TreeAttributor


class ObliviousAttributor:
    """Contributions of the columns of rows to the sums of a forest, whose statistics are looked up first."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        """Takes the arrays of `oblivious_arrays`."""
        self._arrays, self._shares = arrays, arrays["shares"]
        self._trees = TreeAttributor(arrays)
        self.base, self.cells = self._trees.base, self._trees.cells

    def contributions(self, x: Matrix) -> Matrix64:
        """(rows, outputs, columns) the contributions to the margins, which with `base` (outputs,) they sum to."""
        by_column: Matrix64 = self._trees.contributions(add_statistics(self._arrays, x)) @ self._shares
        return by_column


def add_statistics(arrays: Mapping[str, Any], x: Matrix) -> Matrix:
    """The rows with the rank of each statistic behind their own columns."""
    if "ranks" not in arrays:
        return x
    codes = x[:, arrays["code_columns"]]
    codes = np.where(np.isnan(codes), arrays["code_missing"], codes)
    sides = x[:, arrays["border_columns"]] > arrays["border_values"]
    cases: npt.NDArray[np.intp] = np.column_stack([codes.astype(np.intp), sides.astype(np.intp)])
    cells = (cases[:, arrays["case_places"]] * arrays["case_strides"]).sum(axis=1) + arrays["table_starts"]
    return np.column_stack([x, arrays["ranks"][cells].astype(np.float32)])
