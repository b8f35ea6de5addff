"""Label parts: groups of rows whose labels do not reach each other's target encodings.

A row gets the mean label of its category from other parts than its own. Parts are made without looking at labels, so
that a label changes no encoding of its own part.
"""

from dataclasses import dataclass, replace

import numpy as np

from optagent.arrays import Codes, Matrix64, Rows, Vector

_RANDOM_PARTS = 5
_TIME_PARTS = 128  # small ones, since the rows of the first have nothing before them


@dataclass(frozen=True, slots=True, eq=False)
class LabelParts:
    """The part of each row, `part` (rows,).

    Each part learns from all the others or, with `known` (parts,), from that number of first parts: those whose labels
    were known when the part began.
    """

    part: Codes
    known: Codes | None = None

    @property
    def count(self) -> int:
        return int(self.part.max(initial=-1)) + 1 if self.known is None else len(self.known)

    def select_rows(self, rows: Rows) -> "LabelParts":
        """The parts of these rows alone."""
        return replace(self, part=self.part[rows])

    def merge(self, most: int) -> "LabelParts":
        """At most this many parts, of neighbours; a part in time order learns from whole parts before it."""
        width = -(-self.count // most)
        known = None
        if self.known is not None:
            known = self.known[::width] // width
        return LabelParts(self.part // width, known)

    def sum_others(self, sums: Matrix64) -> Matrix64:
        """(cells, parts, ...) the sums over what each part learns from, of sums by part of the same shape.

        No sum holds a number that is taken off again: rounding would tell of it.
        """
        zero = np.zeros_like(sums[:, :1])
        before = np.concatenate([zero, np.cumsum(sums, axis=1)], axis=1)
        if self.known is not None:
            return before[:, self.known]
        after = np.concatenate([np.cumsum(sums[:, ::-1], axis=1)[:, ::-1], zero], axis=1)
        others: Matrix64 = before[:, :-1] + after[:, 1:]
        return others


@dataclass(frozen=True, slots=True, eq=False)
class LabelEncoding:
    """A column of a matrix that holds mean labels: `cells` (rows,) are the codes of its category or pair below `count`,
    -1 where one is missing."""

    column: int
    cells: Codes
    count: int


def label_parts(time: Vector | None, horizon: float = 0.0, entity: Codes | None = None) -> LabelParts | None:
    """Parts in time order where there is a time, otherwise of whole entities; None for random ones."""
    if time is not None:
        return parts_in_time(time, horizon)
    return None if entity is None else parts_of_entities(entity)


def random_parts(rows: int) -> LabelParts:
    """Five parts of rows without an order, the same each time."""
    return LabelParts(np.random.default_rng(0).permutation(rows) % _RANDOM_PARTS)


def parts_of_entities(entity: Codes) -> LabelParts:
    """Five parts of whole entities, numbered from 0, the same each time."""
    order = np.random.default_rng(0).permutation(int(entity.max(initial=-1)) + 1)
    return LabelParts(order[entity] % _RANDOM_PARTS)


def parts_in_time(time: Vector, horizon: float = 0.0) -> LabelParts:
    """Parts in time order, of whole instants; a label is known `horizon` after its row's time.

    >>> parts_in_time(np.array([0.0, 1.0, 1.0, 5.0]), 2.0).known
    array([0, 0, 2])
    """
    place = np.searchsorted(np.sort(time), time, side="left") * _TIME_PARTS // max(1, len(time))
    numbers, part = np.unique(place, return_inverse=True)
    starts, ends = np.full(len(numbers), np.inf), np.full(len(numbers), -np.inf)
    np.minimum.at(starts, part, time)
    np.maximum.at(ends, part, time)
    known = np.searchsorted(ends + horizon, starts, side="left")
    return LabelParts(part.astype(np.int64), known.astype(np.int64))
