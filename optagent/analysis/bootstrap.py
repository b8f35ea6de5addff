"""Bootstrap intervals: percentile intervals of a metric, and of the difference of two models on the same rows.

Rows in time order are drawn in circular blocks of neighbours, since a row drawn alone pretends to know nothing of the
one before it (Politis and Romano 1992, A circular block-resampling procedure for stationary data).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.arrays import Multiplicities, Prediction, Vector
from optagent.domain.study import Interval
from optagent.errors import InvalidData, InvalidRequest

Score = Callable[[Vector, Prediction], float]
Resampled = Callable[[Vector, Prediction], Callable[[Multiplicities], Vector]]

_CELLS_AT_ONCE = 200_000  # of (resamples, rows) counts: what stays in the cache, 3 times faster than 2,000,000


@dataclass(frozen=True, slots=True)
class Resampling:
    """The way in which rows are drawn again.

    `groups` (rows,) are drawn whole, such as all rows of a day; sorted, they are also the order of time. `block` is in
    groups, or rows without them, and by default the cube root of their number, rounded up.
    """

    resamples: int = 1000
    seed: int = 0
    time_ordered: bool = False
    block: int | None = None
    groups: npt.NDArray[np.generic] | None = None

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise InvalidRequest(f"resamples must be at least 1, got {self.resamples}")
        if self.block is not None and (self.block < 1 or not self.time_ordered):
            raise InvalidRequest(f"block must be at least 1 and needs time_ordered, got {self.block}")


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
    baseline: Prediction,
    alpha: float,
    how: Resampling | None = None,
    resampled: Resampled | None = None,
) -> Interval:
    """The improvement of the candidate on the baseline on the same rows; above 0 is better for every metric."""
    sign = 1.0 if maximize else -1.0
    of_candidate, of_baseline = (scorer_of(score, resampled, y, each) for each in (candidate, baseline))

    def scores(counts: Multiplicities) -> Vector:
        return sign * (of_candidate(counts) - of_baseline(counts))

    estimate = sign * (score(y, candidate) - score(y, baseline))
    return _interval(estimate, scores, len(y), alpha, how or Resampling())


def block_length(units: int) -> int:
    """The default length of a block: the cube root of the units, rounded up.

    >>> block_length(1000), block_length(1001)
    (10, 11)
    """
    return math.ceil(round(units ** (1 / 3), 9))


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
        low, high = np.quantile(values[: how.resamples], [alpha / 2, 1 - alpha / 2])
        intervals.append(Interval(float(estimate), float(low), float(high), alpha))
    return intervals


def draws(rows: int, how: Resampling) -> Iterator[Multiplicities]:
    """(resamples, rows) counts in portions, up to twice the resamples asked for."""
    rng = np.random.default_rng(how.seed)
    unit_of_row = None if how.groups is None else np.unique(how.groups, return_inverse=True)[1]
    if unit_of_row is not None and len(unit_of_row) != rows:
        raise InvalidData(f"{len(unit_of_row)} groups for {rows} rows")
    units = rows if unit_of_row is None else int(unit_of_row.max()) + 1
    if units < 2:
        raise InvalidData(f"an interval needs at least 2 groups of rows, got {units}: {rows} rows of one time")
    length = (how.block or block_length(units)) if how.time_ordered else 1
    left = 2 * how.resamples
    while left:
        portion = min(left, how.resamples, max(1, _CELLS_AT_ONCE // rows))
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
