"""Orthonormal curves of a feature's ranks: what the feature could explain, so that one product with a residual tests
it.

Curves of ranks (Neyman 1937, Smooth test for goodness of fit) follow a rise, a bend or a wave, whatever the scale and
the tails of the feature. A family that is linear in its columns profits from straight lines only, and gets only those.
"""

import numpy as np
import numpy.typing as npt

Curves = npt.NDArray[np.float32]
"""(features, curves, rows): the curves of a feature are orthogonal, of mean 0 and length 1, or 0 where the feature does
not vary."""

DEGREES = 3
_LEAST_ROWS = 30  # off the most frequent value: fewer would test single rows
_TRACE = 1e-5  # of a curve's square that the lower powers leave: no more than that is rounding
_CLIP = 4.0
KNOTS = np.array([-1, -0.99, -0.96, -0.9, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 0.9, 0.96, 0.99, 1], dtype=np.float32)
"""Knots among the ranks; closer at the ends, where a product or a ratio has its long tails."""


def curves(values: npt.NDArray[np.float32], flexible: bool = True) -> Curves:
    """The curves of (features, rows) values, NaN where missing. Missing rows are 0, which is the mean."""
    ranked = ranks(values)
    if not flexible:
        return _orthonormal_powers(_standard_scores(values), ranked, 1)
    return _orthonormal_powers(ranked, ranked, DEGREES)


def ranks(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(features, rows) ranks among the known rows between -1 and 1, equal for equal values; NaN where missing, and for
    a feature with too few rows off its most frequent value."""
    rows = values.shape[1]
    order = values.argsort(axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    changes = ordered[:, 1:] != ordered[:, :-1]  # NaN, sorted last, differs from itself
    at = np.arange(rows, dtype=np.int32)
    first = np.zeros(values.shape, dtype=np.int32)
    np.multiply(changes, at[1:], out=first[:, 1:])
    np.maximum.accumulate(first, axis=1, out=first)
    last = np.full(values.shape, rows - 1, dtype=np.int32)
    last[:, :-1] = np.where(changes, at[:-1], rows - 1)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    present_counts = rows - np.isnan(ordered).sum(axis=1)
    common = np.where(at < present_counts[:, None], last - first + 1, 0).max(axis=1, initial=0)
    middle = (first + last + 1).astype(np.float32) / np.maximum(present_counts, 1).astype(np.float32)[:, None] - 1
    middle[present_counts - common < min(_LEAST_ROWS, rows // 4)] = np.nan
    ranked = np.empty(values.shape, dtype=np.float32)
    np.put_along_axis(ranked, order, middle, axis=1)
    ranked[np.isnan(values)] = np.nan
    return ranked


def hat_basis(rank: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(rows, knots + 1) hat functions of one feature's ranks, which span every curve that is straight between knots;
    the last column is 1 where the rank is known."""
    present = ~np.isnan(rank)
    place = np.interp(rank[present], KNOTS, np.arange(len(KNOTS)))
    basis = np.zeros((len(rank), len(KNOTS) + 1), dtype=np.float32)
    basis[present, :-1] = np.maximum(0.0, 1 - np.abs(place[:, None] - np.arange(len(KNOTS))))
    basis[:, -1] = present
    return basis


def _standard_scores(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Standard scores by median and quantiles, clipped so that single rows do not decide."""
    not_empty = ~np.isnan(values).all(axis=1)
    scores = np.full(values.shape, np.nan, dtype=np.float32)
    observed = values[not_empty]
    low, middle, high = np.nanquantile(observed, [0.1, 0.5, 0.9], axis=1, keepdims=True)
    spread = np.where(high > low, (high - low) / 2.56, np.nanstd(observed, axis=1, keepdims=True) + 1e-30)
    scores[not_empty] = np.clip((observed - middle) / spread, -_CLIP, _CLIP)
    return scores


def _orthonormal_powers(
    values: npt.NDArray[np.float32], ranked: npt.NDArray[np.float32], degrees: int
) -> npt.NDArray[np.float32]:
    """Powers of the values, each less its mean and its projection on the lower powers (Gram and Schmidt)."""
    present = ~np.isnan(ranked) & ~np.isnan(values)
    base = np.where(present, values, np.float32(0.0))
    count = np.maximum(present.sum(axis=1, keepdims=True), 1)
    powers = np.zeros((len(values), degrees, values.shape[1]), dtype=np.float32)
    power = np.ones_like(base)
    for degree in range(degrees):
        power = power * base
        curve = np.where(present, power - power.sum(axis=1, keepdims=True) / count, np.float32(0.0))
        before = np.square(curve).sum(axis=1, keepdims=True)
        for lower in range(degree):
            curve -= (curve * powers[:, lower]).sum(axis=1, keepdims=True) * powers[:, lower]
        length = np.square(curve).sum(axis=1, keepdims=True)
        varies = length > _TRACE * before
        powers[:, degree] = np.where(varies, curve / np.sqrt(np.where(varies, length, 1.0)), 0.0)
    return powers
