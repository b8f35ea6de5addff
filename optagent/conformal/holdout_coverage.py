"""Replayed coverage: intervals start from the older half of a holdout, follow its labels, and answer the newer half.

A coverage is unlike its level where two tests say so: by the law of the covered rows of split conformal, which is
beta-binomial for independent rows (Vovk 2012; Angelopoulos and Bates 2023, section 3.2), and by Student's test of
spells of neighbouring rows of both halves, which rows with a memory pass too (batch means: Law and Carson 1979).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import betabinom, binomtest
from scipy.stats import t as student

from optagent.arrays import Mask, Vector
from optagent.conformal.coverage import WATCHED
from optagent.conformal.tracker import LEAST_SCORES, IntervalTracker
from optagent.domain.model import Task
from optagent.domain.prediction_interval import LEVELS
from optagent.domain.study import Interval

LEAST_ROWS = 2 * LEAST_SCORES
"""Labelled rows below which there is nothing to start from and to measure on."""

RISK = 0.01
"""The share of sound models whose coverage may be called unlike its level, on both sides together."""

_LEVEL = LEVELS[WATCHED]
_PASSES = 50
_SPELLS = 10


@dataclass(frozen=True, slots=True)
class ReplayedCoverage:
    """The coverage of 90 % intervals on the `rows` of the newer half, with its interval at confidence 1 - `RISK`.

    `inside` is the share whose score is less than the threshold: ties at the threshold do not make intervals too wide.
    `p_low` and `p_high` are the probabilities of so few covered rows, and of so many inside, where the level holds.
    """

    rows: int
    started_from: int
    coverage: Interval
    inside: float
    p_low: float
    p_high: float


def replay_coverage(task: Task, scores: Vector, times: Vector | None, delay: float) -> ReplayedCoverage:
    """Takes (rows,) scores in the order of time, at least `LEAST_ROWS`; labels come `delay` after their row.

    `times` (rows,) rise, in the unit of `delay`; None for rows without an order, whose labels come at once. Raises
    InvalidData for scores that are no numbers.
    """
    start, places = len(scores) // 2, np.arange(len(scores), dtype=np.float64)
    first = IntervalTracker(task, scores[:start])
    older = scores[:start] <= first.thresholds[WATCHED]
    served = _serve_thresholds(first, scores, places if times is None else times, delay, start)
    newer, inside = scores[start:] <= served, scores[start:] < served
    law = _law_of_covered(start, len(newer))
    return ReplayedCoverage(
        rows=len(newer),
        started_from=start,
        coverage=_interval_of(newer),
        inside=float(inside.mean()),
        p_low=max(float(law.cdf(newer.sum())), _probability_by_spells(older, newer)),
        p_high=max(float(law.sf(inside.sum() - 1)), _probability_by_spells(older, inside)),
    )


def _law_of_covered(start: int, rows: int) -> Any:
    """The law of the covered of `rows` independent rows, by the threshold of `start` others."""
    rank = math.ceil((start + 1) * _LEVEL)
    return betabinom(rows, rank, start + 1 - rank)


def _probability_by_spells(older: Mask, newer: Mask) -> float:
    """The probability of a coverage as far from the level, to its side, by how much spells of both halves vary."""
    error = math.sqrt((_spells(older).var(ddof=1) + _spells(newer).var(ddof=1)) / _SPELLS)
    gap = abs(float(newer.mean()) - _LEVEL)
    return float(student.sf(gap / error, _SPELLS - 1)) if error else 0.0


def _interval_of(covered: Mask) -> Interval:
    """The coverage with Clopper and Pearson's interval for as many rows as the spells say that these are worth."""
    share = float(covered.mean())
    spread = share * (1.0 - share) * _SPELLS / len(covered)
    worth = spread / max(spread, float(_spells(covered).var(ddof=1))) if spread else 1.0
    count = max(1, round(worth * len(covered)))
    bounds = binomtest(round(share * count), count).proportion_ci(1 - RISK)
    return Interval(share, min(bounds.low, share), max(bounds.high, share), RISK)


def _spells(covered: Mask) -> Vector:
    """The coverage of each of ten spells of neighbouring rows."""
    return np.array([part.mean() for part in np.array_split(covered, _SPELLS)])


def _serve_thresholds(tracker: IntervalTracker, scores: Vector, times: Vector, delay: float, start: int) -> Vector:
    """(rows - start,) the thresholds of the watched level that answer the rows from `start` on, as the tracker learns.

    Rows of one time do not know each other's labels.
    """
    served = np.tile(tracker.thresholds, (len(scores), 1))
    learned, done = np.zeros(len(scores)), start
    for part in np.array_split(np.arange(start, len(scores)), _PASSES):
        due = int(np.searchsorted(times + delay, times[part[0]]))
        if due > done:
            rows, done = slice(done, due), due
            lag = tracker.rows + (rows.stop - rows.start) - float(learned[rows].mean())
            tracker.learn(scores[rows], served[rows], lag)
        served[part], learned[part] = tracker.thresholds, tracker.rows
    return served[start:, WATCHED]
