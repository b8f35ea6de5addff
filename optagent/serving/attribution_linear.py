"""Linear attribution: coefficients times deviations from the means of the training rows, by column of the row.

For a linear model of columns that are taken as independent these are its SHAP values (Lundberg and Lee 2017, corollary
1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix64
from optagent.errors import Conflict
from optagent.serving.onnx_columns import category_tables, output_positions, step_columns

Arrays = dict[str, npt.NDArray[Any]]

_NEARLY = 1e-7  # of QuantileTransformer: values so near to the ends are at the ends


def linear_arrays(pipeline: Any, levels: Sequence[int]) -> Arrays:
    """The arrays of a fitted pipeline; raises Conflict for one that has kept no means."""
    columns, estimator = pipeline["columns"], pipeline["model"]
    means = getattr(estimator, "column_means_", None)
    if means is None:
        raise Conflict("this linear model was trained before the means of its columns were kept: train it again")
    weights = np.atleast_2d(estimator.coef_).T.astype(np.float64)
    arrays = {
        "columns": np.array(len(levels)),
        "base": np.atleast_1d(estimator.intercept_).astype(np.float64) + means @ weights,
        "numbers": np.array(step_columns(columns, "number"), dtype=np.intp),
        **_code_arrays(columns, levels, weights, means),
    }
    return {**arrays, **_number_arrays(columns, weights, means)} if len(arrays["numbers"]) else arrays


def _code_arrays(columns: Any, levels: Sequence[int], weights: Matrix64, means: npt.NDArray[Any]) -> Arrays:
    """The contribution of each code of each categorical column; the last one of a column is that of NaN."""
    parts = {
        source: (table.astype(np.float64) - means[positions]) @ weights[positions]
        for source, (positions, table) in category_tables(columns, levels).items()
    }
    sizes = [len(part) for part in parts.values()]
    return {
        "categories": np.array(list(parts), dtype=np.intp),
        "ends": np.cumsum(sizes, dtype=np.intp),
        "codes": np.concatenate([np.empty((0, weights.shape[1])), *parts.values()]),
    }


def _number_arrays(columns: Any, weights: Matrix64, means: npt.NDArray[Any]) -> Arrays:
    steps = columns.named_transformers_["number"].named_steps
    values, missing = output_positions(columns, "number"), output_positions(columns, "missing")
    arrays = {
        "fill": steps["impute"].statistics_.astype(np.float32),
        "weights": weights[values],
        "means": means[values],
        "missing_weights": weights[missing],
        "missing_means": means[missing],
    }
    scaler = steps["scale"]
    if type(scaler).__name__ == "StandardScaler":
        return {**arrays, "centre": scaler.mean_.astype(np.float32), "scale": scaler.scale_.astype(np.float32)}
    return {**arrays, "quantiles": scaler.quantiles_, "references": scaler.references_}


class LinearAttributor:
    """Contributions of the columns of rows to the margins of a linear model."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.base = arrays["base"]
        self._arrays = arrays
        self._columns = int(arrays["columns"])
        self.cells = self._columns * len(self.base)

    def contributions(self, x: npt.NDArray[Any]) -> Matrix64:
        """(rows, outputs, columns) the contributions to the margins, which with `base` (outputs,) they sum to."""
        arrays = self._arrays
        totals = np.zeros((len(x), len(self.base), self._columns))
        numbers = arrays["numbers"]
        if len(numbers):
            values = x[:, numbers]
            missing = np.isnan(values)
            scaled = self._scale(np.where(missing, arrays["fill"], values)) - arrays["means"]
            by_number = scaled[:, :, None] * arrays["weights"]
            by_number += (missing - arrays["missing_means"])[:, :, None] * arrays["missing_weights"]
            totals[:, :, numbers] = by_number.transpose(0, 2, 1)
        for source, begin, end in zip(arrays["categories"], [0, *arrays["ends"]], arrays["ends"], strict=False):
            codes = x[:, source]
            places = np.where(np.isnan(codes), end - 1 - begin, codes).astype(np.intp)
            totals[:, :, source] = arrays["codes"][begin + places]
        return totals

    def _scale(self, values: npt.NDArray[Any]) -> Matrix64:
        arrays = self._arrays
        if "scale" in arrays:
            return ((values - arrays["centre"]) / arrays["scale"]).astype(np.float64)
        scaled = np.empty(values.shape)
        for at, quantiles in enumerate(arrays["quantiles"].T):
            scaled[:, at] = _normal_quantile(values[:, at], quantiles, arrays["references"])
        return scaled


def _normal_quantile(values: npt.NDArray[Any], quantiles: npt.NDArray[Any], shares: npt.NDArray[Any]) -> Any:
    """The normal quantile of the share of training rows below each value, as scikit-learn's `QuantileTransformer`.

    Shares are rounded to the precision of the values, as there.
    """
    from scipy.special import ndtri

    up = np.interp(values, quantiles, shares)
    down = np.interp(-values, -quantiles[::-1], -shares[::-1])
    share = (0.5 * (up - down)).astype(values.dtype)
    share[values + _NEARLY > quantiles[-1]] = 1.0
    share[values - _NEARLY < quantiles[0]] = 0.0
    least = _NEARLY - np.spacing(1.0)
    return np.clip(ndtri(share.astype(np.float64)), ndtri(least), ndtri(1 - least))
