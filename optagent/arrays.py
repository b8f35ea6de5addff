"""Array types: one name for each element type and role, with the shape that its users mean by it."""

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
"""(rows,) numbers: losses, scores, weights, POSIX times."""
Mask = npt.NDArray[np.bool_]
"""(rows,) or (rows, columns) yes or no."""
Matrix = npt.NDArray[np.float32]
"""(rows, columns) encoded cells, as models take them."""
Matrix64 = npt.NDArray[np.float64]
"""(rows, columns) numbers that are computed with."""
Prediction = npt.NDArray[np.float64]
"""(rows,) values or probabilities of the second class, (rows, classes) probabilities."""
Rows = npt.NDArray[np.int64]
"""(count,) numbers of rows."""
Codes = npt.NDArray[np.int64]
"""(rows,) classes, categories or groups by number."""
Counts = npt.NDArray[np.int64]
"""(bins,) or (..., bins) how many."""
Multiplicities = npt.NDArray[np.float64]
"""(resamples, rows) how often each row was drawn."""
Units = npt.NDArray[np.generic]
"""(rows,) the unit of randomisation of each row, such as a hashed sticky key."""
