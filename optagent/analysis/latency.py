"""Latency sketch: response times as counts in logarithmic buckets, mergeable, each quantile within one per cent.

It is DDSketch (Masson, Rim and Lee 2019) with a fixed range of buckets, so that a merge is a sum of counts. The package
`ddsketch` adds one value at a time; here all rows of a batch are counted in one vectorised step.
"""

import math
from dataclasses import dataclass

import numpy as np

from optagent.arrays import Counts, Vector
from optagent.domain.performance import Latency
from optagent.errors import InvalidRequest

ACCURACY = 0.01
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOWEST_MS, _HIGHEST_MS = 1e-3, 1e8
_FIRST = math.floor(math.log(_LOWEST_MS, _GAMMA))
_BUCKETS = math.ceil(math.log(_HIGHEST_MS, _GAMMA)) - _FIRST + 1


@dataclass(frozen=True, slots=True, eq=False)
class LatencySketch:
    """Counts of latencies: (buckets,) int64, the first for all up to a microsecond, the last for all above a day.

    >>> sketch = LatencySketch.of(np.array([10.0, 20.0, np.nan])).merge(LatencySketch.of(np.array([30.0])))
    >>> sketch.rows, sketch.unknown, round(sketch.quantile(0.5))
    (3, 1, 20)
    """

    counts: Counts
    unknown: int = 0
    unusable: int = 0
    max_ms: float | None = None

    @classmethod
    def empty(cls) -> "LatencySketch":
        return cls(np.zeros(_BUCKETS, dtype=np.int64))

    @classmethod
    def of(cls, latency_ms: Vector) -> "LatencySketch":
        """The sketch of (rows,) milliseconds: NaN is unknown, what is infinite or negative is counted apart."""
        unknown = np.isnan(latency_ms)
        usable = np.isfinite(latency_ms) & (latency_ms >= 0)
        usable_ms = latency_ms[usable]
        exponent = np.ceil(np.log(np.clip(usable_ms, _LOWEST_MS, _HIGHEST_MS)) / math.log(_GAMMA))
        bucket = exponent.astype(np.int64) - _FIRST
        return cls(
            counts=np.bincount(np.clip(bucket, 0, _BUCKETS - 1), minlength=_BUCKETS).astype(np.int64),
            unknown=int(unknown.sum()),
            unusable=len(latency_ms) - int(unknown.sum()) - len(usable_ms),
            max_ms=float(usable_ms.max()) if len(usable_ms) else None,
        )

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    def merge(self, other: "LatencySketch") -> "LatencySketch":
        """The sketch of the rows of both, exactly."""
        maxima = [each.max_ms for each in (self, other) if each.max_ms is not None]
        return LatencySketch(
            self.counts + other.counts,
            self.unknown + other.unknown,
            self.unusable + other.unusable,
            max(maxima) if maxima else None,
        )

    def quantile(self, share: float) -> float | None:
        """The latency that this share of the rows does not exceed, in milliseconds; None without rows."""
        if not 0 <= share <= 1:
            raise InvalidRequest(f"a quantile is between 0 and 1, got {share}")
        if self.max_ms is None:
            return None
        rank = share * (self.rows - 1)
        bucket = int(np.searchsorted(np.cumsum(self.counts), rank, side="right"))
        middle = 2 * _GAMMA ** (bucket + _FIRST) / (_GAMMA + 1)
        return min(middle, self.max_ms)

    def summary(self) -> Latency:
        p50, p95, p99 = (self.quantile(share) for share in (0.5, 0.95, 0.99))
        return Latency(self.rows, self.unknown, self.unusable, p50, p95, p99, self.max_ms)
