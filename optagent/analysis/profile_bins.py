"""Histogram bins of a profile: their edges, and the counts of many columns at once, the innermost loop of folding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optagent.arrays import Counts, Matrix

FIXED_POINT = 1024
"""Sums are kept in whole parts of the column's unit, since sums of floats depend on their order."""

_FARTHEST = 2**30  # in those parts: a million units from the centre; what lies beyond counts as that far
_LOWEST = np.float32(np.finfo(np.float32).min)
_CHUNK = 4096  # rows: sorting what fits in the cache is twice as fast
_SORTABLE = 256  # rows of a segment from which sorting it beats looking up each value
_SEGMENTS_AT_ONCE = 128


def quantile_edges(values: Matrix, bins: int) -> tuple[float, ...]:
    """Float32 edges of up to `bins` bins of about equal counts between the least and the greatest of finite values.

    A value that fills a bin gets one of its own, [value, next float), and so does each value of a column of few. The
    two outer bins, below the first edge and from the last one on, hold what lies outside of the values.
    """
    if not len(values):
        return ()
    ordered = np.sort(values)
    beyond = np.float32(np.inf)
    distinct = np.unique(ordered)
    if 2 * len(distinct) <= bins:
        atoms, others = distinct, distinct
    else:
        cuts = ordered[(np.arange(1, bins) * len(ordered)) // bins]
        others, times = np.unique(cuts, return_counts=True)
        atoms = others[times > 1]
    with np.errstate(over="ignore"):  # nothing is beyond the greatest float
        edges = np.concatenate([others, np.nextafter(atoms, beyond), ordered[:1], np.nextafter(ordered[-1:], beyond)])
    edges = np.unique(edges)
    return tuple(edges[np.isfinite(edges)].astype(np.float64).tolist())


def code_edges(categories: int) -> tuple[float, ...]:
    """Edges that put each code into a bin of its own, and codes that are not known into the last.

    >>> code_edges(2)
    (0.5, 1.5)
    """
    return tuple(code + 0.5 for code in range(categories))


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of one column in a flat array of counts: `first` is that of missing values, the others follow.

    `centre` and `unit` are those of the sums; a unit of 0 means that no sum is kept.
    """

    edges: tuple[float, ...]
    first: int
    centre: float
    unit: float

    @property
    def stop(self) -> int:
        return self.first + len(self.edges) + 2

    @property
    def scale(self) -> float:
        """Parts a value; finite for units as small as floats go."""
        return float(np.float32(min(FIXED_POINT / self.unit, 1e30)))

    @property
    def all_edges(self) -> Matrix:
        return np.array([_LOWEST, *self.edges, np.inf], dtype=np.float32)


def count_values(matrices: Sequence[Matrix], starts: Counts, bins: Sequence[Bins]) -> Counts:
    """Counts of the columns of all matrices, taken together, by segment: (segments, bins and then a sum a column).

    A segment goes from its start to the next one. NaN and infinities are missing.
    """
    rows = len(matrices[0])
    ends = np.append(starts[1:], rows)
    total = np.zeros((len(starts), bins[-1].stop + len(bins)), dtype=np.int64)
    if rows >= _SORTABLE * len(starts):
        for segment, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            for first in range(start, end, _CHUNK):
                _count_sorted(_columns(matrices, first, min(first + _CHUNK, end)), bins, total[segment])
        return total
    for low in range(0, len(starts), _SEGMENTS_AT_ONCE):
        high = min(low + _SEGMENTS_AT_ONCE, len(starts))
        for first in range(int(starts[low]), int(ends[high - 1]), _CHUNK):
            last = min(first + _CHUNK, int(ends[high - 1]))
            segment_of = np.searchsorted(starts[low:high], np.arange(first, last), side="right") - 1
            _count_looked_up(_columns(matrices, first, last), segment_of, bins, total[low:high])
    return total


def _columns(matrices: Sequence[Matrix], first: int, last: int) -> Matrix:
    """(columns, rows) float32, C-ordered: a copy."""
    return np.concatenate([matrix[first:last].T for matrix in matrices], dtype=np.float32, casting="same_kind")


def _count_sorted(values: Matrix, bins: Sequence[Bins], into: Counts) -> None:
    """Counts rows of one segment: in sorted values, the places of the edges give the counts."""
    values.sort(axis=1)
    sums = into[bins[-1].stop :]
    for index, (column, one) in enumerate(zip(values, bins, strict=True)):
        places = column.searchsorted(one.all_edges)
        into[one.first] += len(column) - (places[-1] - places[0])
        into[one.first + 1 : one.stop] += np.diff(places)
        if one.unit:
            total = _fixed_point(column[places[0] : places[-1]], one).sum(dtype=np.float64)
            sums[index] += int(total)  # exact: whole, and below 2**53


def _count_looked_up(values: Matrix, segment_of: Counts, bins: Sequence[Bins], into: Counts) -> None:
    """Counts rows of several segments: looks up the bin of each value."""
    segments, width = into.shape
    cells = np.empty(values.shape, dtype=np.int64)
    for index, (column, one) in enumerate(zip(values, bins, strict=True)):
        places = one.all_edges.searchsorted(column, side="right")
        places[places == len(one.edges) + 2] = 0
        cells[index] = segment_of * width + one.first + places
        if one.unit:
            parts = np.where(places > 0, _fixed_point(column, one), np.float32(0))
            sums = np.bincount(segment_of, weights=parts, minlength=segments)
            into[:, bins[-1].stop + index] += sums.astype(np.int64)
    into += np.bincount(cells.ravel(), minlength=segments * width).reshape(segments, width)


def _fixed_point(values: Matrix, one: Bins) -> Matrix:
    """Whole float32 distances from the centre, each rounded by itself: sums do not depend on the order of rows."""
    with np.errstate(over="ignore", invalid="ignore"):
        parts = (values - np.float32(one.centre)) * np.float32(one.scale)
        np.rint(parts, out=parts)
        return np.clip(parts, -_FARTHEST, _FARTHEST, out=parts)
