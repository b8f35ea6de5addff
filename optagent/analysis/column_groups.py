"""Column groups: the bins of every column joined into a dozen groups, and the shares of rows that drift tests compare.

Of an ordered column the groups lie between its octiles, and the shares are those below each; of categories the
frequent ones stand alone, the others are dealt out to four groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optagent.arrays import Counts
from optagent.domain.drift import DriftCheck

_PARTS = 8
_ALONE, _DEALT = 8, 4  # categories


@dataclass(frozen=True, slots=True)
class SharesOfTest:
    """The shares that one test of one column compares: `start` to `stop` among those of all tests."""

    column: int
    check: DriftCheck
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class ColumnGroups:
    """The groups of all columns in a flat array; of each column, that of missing values comes first.

    `group` is (bins of all columns,), the group of each bin. A share is one range of groups over a wider one: `hits`
    and `totals` are the (shares, 2) places from and up to which to add.
    """

    group: Counts
    width: int
    hits: Counts
    totals: Counts
    tests: tuple[SharesOfTest, ...]

    @property
    def starts(self) -> Counts:
        """The first share of each group of shares that vary alike: values with unseen ones, and missing ones."""
        return np.array([test.start for test in self.tests if test.check is not DriftCheck.UNSEEN])

    @classmethod
    def of(cls, columns: Sequence[tuple[Counts, bool]]) -> "ColumnGroups":
        """The groups of columns, each given by the counts of its bins in the reference and whether it is ordered."""
        group: list[int] = []
        hits: list[tuple[int, int]] = []
        totals: list[tuple[int, int]] = []
        tests: list[SharesOfTest] = []
        width = 0
        for place, (counts, is_ordered) in enumerate(columns):
            of_bins = _ordered_groups(counts) if is_ordered else _category_groups(counts)
            first, last = width + 1, width + 1 + int(of_bins.max())  # of the values
            group += [width, *(first + of_bins).tolist()]
            for check, ranges in _shares_by_check(is_ordered, width, first, last):
                whole = (width if check is DriftCheck.MISSING else first, last + 1)
                tests.append(SharesOfTest(place, check, len(hits), len(hits) + len(ranges)))
                hits += ranges
                totals += [whole] * len(ranges)
            width = last + 1
        return cls(np.array(group), width, np.array(hits), np.array(totals), tuple(tests))

    def join(self, counts: Counts) -> Counts:
        """(rows, groups) counts of (rows, bins, and perhaps more behind them) counts."""
        joined = np.zeros((self.width, len(counts)), dtype=np.int64)
        np.add.at(joined, self.group, counts[:, : len(self.group)].T)
        return joined.T

    def shares(self, joined: Counts) -> tuple[Counts, Counts]:
        """The hits and totals, (rows, shares) each, of (rows, groups) counts."""
        below = np.pad(joined.cumsum(axis=1), ((0, 0), (1, 0)))
        hits, totals = (below[:, ends[:, 1]] - below[:, ends[:, 0]] for ends in (self.hits, self.totals))
        return hits, totals


def _ordered_groups(counts: Counts) -> Counts:
    """(bins,) the group of each bin: the two outer ones, and those between the octiles."""
    below = counts.cumsum()[:-1] / max(1, int(counts.sum()))  # at each edge
    starts = np.zeros(len(counts), dtype=np.int64)
    if len(below):
        nearest = np.abs(below[:, None] - np.arange(1, _PARTS) / _PARTS).argmin(axis=0)
        starts[np.unique([1, *(nearest + 1), len(counts) - 1])] = 1
    return starts.cumsum()


def _category_groups(counts: Counts) -> Counts:
    """(bins,) the group of each category, and at the end that of unknown ones."""
    known = len(counts) - 1
    group = np.empty(known + 1, dtype=np.int64)
    group[np.argsort(-counts[:-1], kind="stable")] = np.arange(known)
    if known > _ALONE + _DEALT:
        group = np.where(group < _ALONE, group, _ALONE + group % _DEALT)
    group[-1] = min(known, _ALONE + _DEALT)
    return group


def _shares_by_check(
    is_ordered: bool, missing: int, first: int, last: int
) -> list[tuple[DriftCheck, list[tuple[int, int]]]]:
    """The ranges of groups whose shares each check compares."""
    values = [(first if is_ordered else place - 1, place) for place in range(first + 1, last + 1 + (not is_ordered))]
    ranges = [(DriftCheck.VALUES, values)] if values else []
    if not is_ordered:
        ranges.append((DriftCheck.UNSEEN, [(last, last + 1)]))
    return [*ranges, (DriftCheck.MISSING, [(missing, first)])]
