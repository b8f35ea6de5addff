"""Bootstrap intervals: percentile intervals of a metric, and of the difference of two models on the same rows.

Rows in time order are drawn in circular blocks of neighbours, since a row drawn alone pretends to know nothing of the
one before it (Politis and Romano 1992, A circular block-resampling procedure for stationary data). The length of the
blocks follows the rows' contributions to the score, or to the difference of two scores, by the jackknife.

Resamples of few blocks vary too little. So the percentiles lie further out, where a t law has its quantile that the
normal law has at alpha (the expanded percentile interval of Hesterberg 2015, What teachers should know about the
bootstrap, The American Statistician 69).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from optagent.analysis.block_length import CELLS, cube_root_length, data_driven_length
from optagent.arrays import Multiplicities, Prediction, Resampled, Score, Vector
from optagent.domain.study import Interval
from optagent.errors import InvalidData, InvalidRequest

RULES = 2
"""Number of the rules for blocks and percentiles. By rules 1, blocks had the cube root of the units, and percentiles
were those of alpha: decisions that were made by them are replayed by them."""

_COUNTS_AT_ONCE = 200_000  # of (resamples, rows) counts: what stays in the cache, 3 times faster than 2,000,000
_LEAST_BEYOND = 5  # resamples beyond a percentile, for it to be one of theirs
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Resampling:
    """The way in which rows are drawn again.

    `groups` (rows,) are drawn whole, such as all rows of a day or of a customer; sorted, they are also the order of
    time. `block` is in groups, or rows without them, and by default follows the data; see `RULES` for `rules`.
    """

    resamples: int = 1000
    seed: int = 0
    time_ordered: bool = False
    block: int | None = None
    groups: npt.NDArray[np.generic] | None = None
    rules: int = RULES

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise InvalidRequest(f"resamples must be at least 1, got {self.resamples}")
        if self.block is not None and (self.block < 1 or not self.time_ordered):
            raise InvalidRequest(f"block must be at least 1 and needs time_ordered, got {self.block}")
        if not 1 <= self.rules <= RULES:
            raise InvalidRequest(f"rules must be between 1 and {RULES}, got {self.rules}")


def bootstrap_interval(
    score: Score,
    y: Vector,
    prediction: Prediction,
    alpha: float,
    how: Resampling | None = None,
    resampled: Resampled | None = None,
) -> Interval:
    """The score with its interval at confidence `1 - alpha`.

    `resampled` scores (resamples, rows) counts at once, ten times faster for AUC than `score` on each. Resamples on
    which the score is undefined (it raises InvalidData, or is NaN), such as those of one class, are drawn again.
    """
    scores = scorer_of(score, resampled, y, prediction)
    return _interval(score(y, prediction), scores, len(y), alpha, how or Resampling())


def bootstrap_intervals(
    scores: Sequence[tuple[Score, Resampled | None]],
    y: Vector,
    prediction: Prediction,
    alpha: float,
    how: Resampling | None = None,
) -> list[Interval | InvalidData]:
    """The intervals that `bootstrap_interval` gives for each score, on resamples that are drawn once for all of them.

    For a score that is undefined, on the rows or on too many resamples, it answers the error instead of raising it.
    """
    undefined: dict[int, InvalidData] = {}
    estimates, scorers = [], []
    for index, (score, resampled) in enumerate(scores):
        try:
            estimates.append(score(y, prediction))
            scorers.append(scorer_of(score, resampled, y, prediction))
        except InvalidData as error:
            undefined[index] = error
    intervals = iter(_intervals(estimates, scorers, len(y), alpha, how or Resampling()) if scorers else ())
    return [undefined[index] if index in undefined else next(intervals) for index in range(len(scores))]


def paired_interval(
    score: Score,
    maximize: bool,
    y: Vector,
    candidate: Prediction,
    baseline: Prediction | tuple[Prediction, ...],
    alpha: float,
    how: Resampling | None = None,
    resampled: Resampled | None = None,
) -> Interval:
    """The improvement of the candidate on the baseline on the same rows; above 0 is better for every metric.

    Several baselines are represented by the mean of their scores.
    """
    sign = 1.0 if maximize else -1.0
    baselines = baseline if isinstance(baseline, tuple) else (baseline,)
    of_candidate, *of_baselines = (scorer_of(score, resampled, y, each) for each in (candidate, *baselines))

    def scores(counts: Multiplicities) -> Vector:
        return sign * (of_candidate(counts) - sum(of_one(counts) for of_one in of_baselines) / len(of_baselines))

    estimate = sign * (score(y, candidate) - sum(score(y, each) for each in baselines) / len(baselines))
    return _interval(estimate, scores, len(y), alpha, how or Resampling())


def _interval(
    estimate: float, scores: Callable[[Multiplicities], Vector], rows: int, alpha: float, how: Resampling
) -> Interval:
    (interval,) = _intervals([estimate], [scores], rows, alpha, how)
    if isinstance(interval, InvalidData):
        raise interval
    return interval


def _intervals(
    estimates: Sequence[float],
    scores: Sequence[Callable[[Multiplicities], Vector]],
    rows: int,
    alpha: float,
    how: Resampling,
) -> list[Interval | InvalidData]:
    if not 0 < alpha < 1:
        raise InvalidRequest(f"alpha must be between 0 and 1, got {alpha}")
    if rows < 2:
        raise InvalidData(f"an interval needs at least 2 rows, got {rows}")
    how = with_block(how, scores, rows)
    resamples = 0
    parts: list[list[Vector]] = [[] for _ in scores]
    defined = np.zeros(len(scores), dtype=np.int64)
    for counts in draws(rows, how):
        resamples += len(counts)
        for index in np.flatnonzero(defined < how.resamples).tolist():
            values = scores[index](counts)
            parts[index].append(values[~np.isnan(values)])
            defined[index] += len(parts[index][-1])
        if (defined >= how.resamples).all():
            break
    intervals: list[Interval | InvalidData] = []
    for estimate, values, count in zip(estimates, map(np.concatenate, parts), defined.tolist(), strict=True):
        if count < how.resamples:
            reason = (
                f"no interval: the score is undefined on {resamples - count} of {resamples} resamples of {rows} rows"
            )
            intervals.append(InvalidData(reason))
            continue
        low, high = percentiles(values[: how.resamples], alpha, rows, how)
        intervals.append(Interval(float(estimate), low, high, alpha))
    return intervals


def with_block(how: Resampling, scores: Sequence[Callable[[Multiplicities], Vector]], rows: int) -> Resampling:
    """The same way with the length of block that these scores of (resamples, rows) counts need together."""
    unit_of_row, units = _units_of(rows, how)
    if not how.time_ordered or how.block is not None:
        return how
    if how.rules == 1:
        return replace(how, block=cube_root_length(units))
    cells = min(units, CELLS)
    cell_of_row = (np.arange(rows) if unit_of_row is None else unit_of_row) * cells // units
    lengths = [data_driven_length(_contributions(score, cell_of_row, cells), units) for score in scores]
    return replace(how, block=max(lengths))


def percentiles(values: Vector, alpha: float, rows: int, how: Resampling) -> tuple[float, float]:
    """The ends of the interval of these scores of resamples; `how` has the length of block that they were drawn by.

    Where too few resamples lie beyond a percentile, it is that of more of them, widened from the median by the normal
    law.
    """
    tail = alpha / 2 if how.rules == 1 else _expanded_tail(alpha / 2, _independent_parts(rows, how))
    least = 0.0 if how.rules == 1 else min(0.25, _LEAST_BEYOND / len(values))
    if tail >= least:
        low, high = np.quantile(values, [tail, 1 - tail]).tolist()
        return low, high
    low, middle, high = np.quantile(values, [least, 0.5, 1 - least]).tolist()
    growth = _NORMAL.inv_cdf(tail) / _NORMAL.inv_cdf(least)
    return middle - growth * (middle - low), middle + growth * (high - middle)


def _expanded_tail(tail: float, parts: float) -> float:
    """The share of resamples beyond a percentile, for a mean of so many independent parts."""
    quantile = stdtrit(parts - 1, tail) * math.sqrt(parts / (parts - 1))
    return max(_NORMAL.cdf(float(quantile)), 1e-15)


def _independent_parts(rows: int, how: Resampling) -> float:
    """The number of blocks, or of groups or rows without blocks; unequal groups count for fewer (Kish 1965)."""
    unit_of_row, units = _units_of(rows, how)
    if unit_of_row is None:
        effective = float(units)
    else:
        effective = rows**2 / float((np.bincount(unit_of_row).astype(np.float64) ** 2).sum())
    return max(2.0, effective / (how.block or 1))


def _contributions(score: Callable[[Multiplicities], Vector], cell_of_row: npt.NDArray[np.int64], cells: int) -> Vector:
    """(cells,) the change of the score for want of each cell of rows (the jackknife); 0 where it is undefined."""
    at_once = max(1, _COUNTS_AT_ONCE // len(cell_of_row))
    scores = np.concatenate(
        [
            score((np.arange(start, min(start + at_once, cells))[:, None] != cell_of_row).astype(np.float64))
            for start in range(0, cells, at_once)
        ]
    )
    changes = np.nanmean(scores) - scores if not np.isnan(scores).all() else scores
    return np.nan_to_num(changes)


def _units_of(rows: int, how: Resampling) -> tuple[npt.NDArray[np.int64] | None, int]:
    """The group of each row, None where each row is its own, and their number."""
    unit_of_row = None if how.groups is None else np.unique(how.groups, return_inverse=True)[1]
    if unit_of_row is not None and len(unit_of_row) != rows:
        raise InvalidData(f"{len(unit_of_row)} groups for {rows} rows")
    units = rows if unit_of_row is None else int(unit_of_row.max()) + 1
    if units < 2:
        raise InvalidData(f"an interval needs at least 2 groups of rows, got {units}: {rows} rows of one group")
    return unit_of_row, units


def draws(rows: int, how: Resampling) -> Iterator[Multiplicities]:
    """(resamples, rows) counts in portions, up to twice the resamples asked for.

    Without a `block`, for which see `with_block`, blocks have the cube root of the units.
    """
    rng = np.random.default_rng(how.seed)
    unit_of_row, units = _units_of(rows, how)
    length = (how.block or cube_root_length(units)) if how.time_ordered else 1
    left = 2 * how.resamples
    while left:
        portion = min(left, how.resamples, max(1, _COUNTS_AT_ONCE // rows))
        counts = _unit_counts(rng, portion, units, min(length, units))
        yield counts if unit_of_row is None else counts[:, unit_of_row]
        left -= portion


def _unit_counts(rng: np.random.Generator, portion: int, units: int, length: int) -> Multiplicities:
    picks = rng.integers(0, units, size=(portion, math.ceil(units / length)))
    if length > 1:
        picks = ((picks[:, :, None] + np.arange(length)) % units).reshape(portion, -1)[:, :units]
    counts = np.empty((portion, units))
    for index, row in enumerate(picks):
        counts[index] = np.bincount(row, minlength=units)
    return counts


def scorer_of(
    score: Score, resampled: Resampled | None, y: Vector, prediction: Prediction
) -> Callable[[Multiplicities], Vector]:
    """A function of (resamples, rows) counts that gives their scores, NaN where undefined."""
    if resampled is not None:
        return resampled(y, prediction)

    def one_by_one(counts: Multiplicities) -> Vector:
        values = np.full(len(counts), np.nan)
        for index, count in enumerate(counts):
            rows = np.repeat(np.arange(len(y)), count.astype(np.int64))
            try:
                values[index] = score(y[rows], prediction[rows])
            except InvalidData:
                continue
        return values

    return one_by_one
