"""Binned counts: live rows counted on the bins of a profile, in constant memory, for any window and across actors."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.profile import Profile, bins_of, outputs_of
from optagent.analysis.profile_bins import Bins, count_values
from optagent.arrays import Counts
from optagent.codec import encode
from optagent.errors import Conflict, InvalidData, InvalidRequest


@dataclass(frozen=True, slots=True)
class Layout:
    """The place of each column's counts, the profile that they belong to (by digest), and the seconds of a bucket."""

    digest: str
    width_s: float
    bins: tuple[Bins, ...]

    @property
    def size(self) -> int:
        """Whole numbers a bucket: the counts of all bins, and a sum a column."""
        return self.bins[-1].stop + len(self.bins)


class BinnedCounts:
    """Counts by bucket of time; bucket `number` covers the seconds from `number * width_s` on.

    Two of them of the same layout merge exactly, in any order: all numbers are whole.
    """

    __slots__ = ("_buckets", "layout")

    def __init__(self, layout: Layout, buckets: Mapping[int, Counts] | None = None) -> None:
        self.layout = layout
        self._buckets = dict(buckets or {})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BinnedCounts) or (self.layout, set(self._buckets)) != (
            other.layout,
            set(other._buckets),
        ):
            return False
        return all(np.array_equal(counts, other._buckets[number]) for number, counts in self._buckets.items())

    __hash__ = None  # type: ignore[assignment]

    @property
    def buckets(self) -> Mapping[int, Counts]:
        """(size,) whole numbers by bucket, of those buckets only that have rows."""
        return self._buckets

    @property
    def rows(self) -> int:
        last = self.layout.bins[-1]
        return int(sum(counts[last.first : last.stop].sum() for counts in self._buckets.values()))

    @property
    def nbytes(self) -> int:
        return sum(counts.nbytes for counts in self._buckets.values())

    def total(self) -> Counts:
        """(size,) sums of the counts of all buckets."""
        return self.blocks(1)[0] if self._buckets else np.zeros(self.layout.size, dtype=np.int64)

    def blocks(self, most: int) -> Counts:
        """(blocks, size) counts of the buckets in order of time, joined into at most `most` blocks of equal lengths."""
        if not self._buckets:
            return np.zeros((0, self.layout.size), dtype=np.int64)
        numbers = sorted(self._buckets)
        span = math.ceil((numbers[-1] - numbers[0] + 1) / most)
        blocks: dict[int, Counts] = {}
        for number in numbers:
            place = (number - numbers[0]) // span
            if place in blocks:
                blocks[place] += self._buckets[number]
            else:
                blocks[place] = self._buckets[number].copy()
        return np.stack(list(blocks.values()))

    def between(self, start: float, end: float) -> "BinnedCounts":
        """The buckets that begin at `start` or later and before `end`; they are shared, not copied."""
        first, last = (math.ceil(instant / self.layout.width_s) for instant in (start, end))
        buckets = {number: counts for number, counts in self._buckets.items() if first <= number < last}
        return BinnedCounts(self.layout, buckets)

    def forget(self, before: float) -> None:
        """Drops the buckets that end at `before` or earlier."""
        for number in [number for number in self._buckets if (number + 1) * self.layout.width_s <= before]:
            del self._buckets[number]

    def add_bucket(self, number: int, counts: Counts) -> None:
        """Adds the counts of one bucket."""
        present = self._buckets.get(number)
        self._buckets[number] = counts.copy() if present is None else present + counts

    def values(self, column: int, of: Counts) -> Counts:
        """The counts of a column's values by bin in (..., size) numbers, without its missing ones."""
        bins = self.layout.bins[column]
        return of[..., bins.first + 1 : bins.stop]

    def missing(self, column: int, of: Counts) -> Counts:
        """The counts of a column's missing values in (..., size) numbers."""
        return of[..., self.layout.bins[column].first]

    def mean(self, column: int, of: Counts) -> float | None:
        """The mean of a numeric column in (size,) numbers, to a thousandth of its unit; None without one."""
        bins = self.layout.bins[column]
        present = int(self.values(column, of).sum())
        if not present or not bins.unit:
            return None
        return float(np.float32(bins.centre)) + int(of[self.layout.bins[-1].stop + column]) / present / bins.scale


class BinCounter:
    """Turns rows into counts on the bins of a profile, in buckets of `width_s` seconds.

    A window should have at least 16 buckets, since the repetition of rows is measured between them. A bucket takes 8
    bytes a bin, some 52 kB for 50 numeric columns.
    """

    def __init__(self, profile: Profile, width_s: float = 3600.0) -> None:
        if not (math.isfinite(width_s) and width_s > 0):
            raise InvalidRequest(f"width_s must be above 0 seconds, got {width_s!r}")
        self._profile = profile
        digest = hashlib.sha256(encode(profile)).hexdigest()
        self.layout = Layout(digest, float(width_s), bins_of(profile.columns))

    def empty(self) -> BinnedCounts:
        return BinnedCounts(self.layout)

    def fold(self, observed: ObservedRows) -> BinnedCounts:
        """The counts of these rows; InvalidData where they are not of the profile's columns."""
        counts = self.empty()
        self.fold_into(counts, observed)
        return counts

    def fold_into(self, counts: BinnedCounts, observed: ObservedRows) -> None:
        """Adds rows to counts in place."""
        self._check(counts, observed)
        if not len(observed):
            return
        number = np.floor(observed.time / self.layout.width_s)
        if (np.diff(number) < 0).any():
            order = np.argsort(observed.time, kind="stable")
            observed, number = observed.where(order), number[order]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(number)) + 1])
        bucket_counts = count_values((observed.x, outputs_of(observed)), starts, self.layout.bins)
        for bucket, numbers in zip(number[starts].astype(np.int64).tolist(), bucket_counts, strict=True):
            counts.add_bucket(bucket, numbers)

    def _check(self, counts: BinnedCounts, observed: ObservedRows) -> None:
        if counts.layout != self.layout:
            raise Conflict("these counts are of another profile or of buckets of another width")
        expected = [(column.name, column.kind) for column in self._profile.features]
        actual = [(column.name, column.kind) for column in observed.columns]
        if actual != expected:
            differing = sorted({name for name, _ in set(actual) ^ set(expected)})
            raise InvalidData(f"columns differ from those of the profile: {differing or 'their order'}")
        if (observed.task, observed.n_classes) != (self._profile.task, self._profile.n_classes):
            raise InvalidData(f"a profile of a {self._profile.task} model cannot count rows of a {observed.task} model")
        if not np.isfinite(observed.time).all():
            raise InvalidData(f"row {int(np.flatnonzero(~np.isfinite(observed.time))[0])} has no finite time")


def merge(*parts: BinnedCounts) -> BinnedCounts:
    """The sum of all parts, exact and in any order. Conflict for counts of different layouts."""
    if not parts:
        raise InvalidRequest("nothing to merge")
    merged = BinnedCounts(parts[0].layout)
    for part in parts:
        if part.layout != merged.layout:
            raise Conflict("counts of different profiles or widths cannot be merged")
        for number, counts in part.buckets.items():
            merged.add_bucket(number, counts)
    return merged
