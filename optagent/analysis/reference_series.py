"""Reference series: the reference's group counts by bucket of the clock, of a bounded number of buckets.

With it, a window is compared with whole windows of the reference: their spread, their memory, the same hours and
weekdays.
"""

import base64
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from optagent.arrays import Counts, Vector

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S

MOST_BUCKETS = 400
_HOURS = (1, 2, 3, 4, 6, 8, 12, 24)  # of a bucket: parts of a day
_CLOCK_FROM = 365 * DAY_S  # earlier times are row numbers, not instants


@dataclass(frozen=True, slots=True)
class ReferenceSeries:
    """(buckets, groups) counts as packed text; bucket `first` begins at `first * width_s` POSIX seconds."""

    width_s: float
    first: int
    buckets: int
    packed: str

    def counts(self) -> Counts:
        """(buckets, groups) whole numbers, not to be written to."""
        return _unpack(self.packed, self.buckets)


def pack_series(width_s: float, first: int, counts: Counts) -> ReferenceSeries:
    """The series of (buckets, groups) counts."""
    data = zlib.compress(np.ascontiguousarray(counts, dtype="<i8").tobytes())
    return ReferenceSeries(width_s, first, len(counts), base64.b64encode(data).decode())


@lru_cache(maxsize=8)  # of references that are compared with in turn
def _unpack(packed: str, buckets: int) -> Counts:
    counts = np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype="<i8").reshape(buckets, -1)
    return counts.astype(np.int64)


def clock_span(time: Vector) -> tuple[float, float] | None:
    """The first and last instant of (rows,) times in order; None where they are row numbers."""
    start, end = float(time[0]), float(time[-1])
    return (start, end) if start >= _CLOCK_FROM else None


def bucket_width_s(span_s: float) -> float:
    """Seconds a bucket: the shortest part of a day of which there are not too many, or a day."""
    widths = (3600.0 * hours for hours in _HOURS)
    return next((width for width in widths if span_s / width < MOST_BUCKETS - 1), DAY_S)
