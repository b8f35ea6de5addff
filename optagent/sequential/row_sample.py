"""Row sample: a sketch of a set of rows, from which the share of rows that two holdouts have in common is estimated.

Each row has a hash of 64 bits, and a set is known by its 128 least hashes (bottom-k sketch: Cohen and Kaplan 2007,
Summarizing data using bottom-k sketches, PODC). A set of up to 128 rows is known exactly; the share of a larger one has
a standard error of at most .044.
"""

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector

SIZE = 128
_LEAST = 10  # hashes: fewer do not tell a share
_DIGITS = 16  # of a hash in hexadecimal

Hashes = npt.NDArray[np.uint64]


def sample_rows(y: Vector, time: Vector | None) -> str:
    """The sample of rows by their targets and times (rows,), as text; equal rows are told apart by their count.

    Without times, rows of equal targets are alike: holdouts of one size then have all rows in common.
    """
    pairs = np.column_stack([np.zeros(len(y)) if time is None else time, y]).astype(np.float64) + 0.0  # no -0.0
    order = np.lexsort(pairs.T)
    ordered = pairs[order]
    is_first = np.ones(len(y), dtype=np.bool_)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    places = np.arange(len(y))
    count = places - np.maximum.accumulate(np.where(is_first, places, 0))
    hashes = _mix(_mix(_mix(ordered[:, 0].view(np.uint64)) ^ ordered[:, 1].view(np.uint64)) ^ count.astype(np.uint64))
    return "".join(f"{each:0{_DIGITS}x}" for each in np.unique(hashes)[:SIZE].tolist())


def share_in(sample: str, earlier: str) -> float:
    """The share of a sample's rows that are among those of an earlier one; 1 where it cannot be told."""
    own, others = _hashes_of(sample), _hashes_of(earlier)
    common_bound = min(_bound(own), _bound(others))
    told = {each for each in own if each <= common_bound}
    if len(told) < min(_LEAST, max(1, len(own))):
        return 1.0
    return len(told & set(others)) / len(told)


def _hashes_of(sample: str) -> list[int]:
    return [int(sample[start : start + _DIGITS], 16) for start in range(0, len(sample), _DIGITS)]


def _bound(hashes: list[int]) -> int:
    """The hash up to which a sample has all rows of its set."""
    return hashes[-1] if len(hashes) >= SIZE else 2**64


def _mix(values: npt.NDArray[np.uint64]) -> Hashes:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014): each bit depends on all bits."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)
