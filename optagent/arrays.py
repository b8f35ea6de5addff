"""Array types: one name for each element type and role, with the shape that its users mean by it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
"""(rows,) numbers: losses, scores, weights, POSIX times."""
Mask = npt.NDArray[np.bool_]
"""(rows,) or (rows, columns) truth values."""
Matrix = npt.NDArray[np.float32]
"""(rows, columns) encoded cells, as models take them."""
Matrix64 = npt.NDArray[np.float64]
"""(rows, columns) numbers of full precision, for computations."""
Prediction = npt.NDArray[np.float64]
"""(rows,) values or probabilities of the second class, (rows, classes) probabilities."""
Rows = npt.NDArray[np.int64]
"""(count,) indices of rows."""
Codes = npt.NDArray[np.int64]
"""(rows,) indices of classes, categories or groups."""
Counts = npt.NDArray[np.int64]
"""(bins,) or (..., bins) counts."""
Multiplicities = npt.NDArray[np.float64]
"""(resamples, rows) number of times that each row was drawn."""
Units = npt.NDArray[np.generic]
"""(rows,) unit of randomisation of each row, such as a hashed sticky key."""

Score = Callable[[Vector, Prediction], float]
"""A score of predictions against (rows,) class indexes or values."""
Resampled = Callable[[Vector, Prediction], Callable[[Multiplicities], Vector]]
"""Scores of many resamples at once: of the rows, a function from multiplicities to (resamples,) scores."""
