"""Slowing labels: the test for a fall of the share of requests that have a label by a given age.

The cohorts of a model are compared at the same age: the newest one, and the newest seven together, with those before.
Shares differ from day to day by more than chance, so that the spread between the earlier cohorts is part of the test.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from optagent.analysis.label_maturity import CohortCounts, MaturityCurve, bin_end
from optagent.arrays import Vector
from optagent.domain.label_maturity import LabelHistory, LabelSlowing

_QUANTILES = (0.25, 0.5, 0.75, 0.9)  # of the age at which labels come: the ages at which cohorts are compared
_NEWEST = (1, 7)
_LASTING = 7
_LEAST_FREEDOM = 4.0
_FEWEST_USUAL = {1: 8, 7: 28}
_HIGHEST_LEVEL = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class _Shares:
    """The cohorts that lived through an age, the oldest first: their starts, requests, and labels by that age."""

    start: Vector
    rows: Vector
    labels: Vector

    @property
    def angles(self) -> Vector:
        """2 asin(sqrt(share)), of variance 1 / rows by chance (Anscombe 1948)."""
        return np.asarray(2 * np.arcsin(np.sqrt((self.labels + 0.375) / (self.rows + 0.75))))


def label_slowing(
    history: LabelHistory, curve: MaturityCurve | None, false_alarm_every_s: float
) -> LabelSlowing | None:
    """The verdict on the newest cohorts of a history; None where there are too few to compare them with.

    Where nothing changes, one cohort in `false_alarm_every_s` is found slow. Without a curve, cohorts are compared at
    the quantiles of the ages at which the recorded labels came.
    """
    counts = CohortCounts(history.cohorts, len(history.outcomes))
    level = min(_HIGHEST_LEVEL, history.length_s / false_alarm_every_s)
    tests: list[LabelSlowing] = []
    for index in _ages_to_compare(counts, curve):
        shares = _shares_at(counts, index)
        sizes = [newest for newest in _NEWEST if len(shares.rows) - newest >= _FEWEST_USUAL[newest]]
        tests += [_test(shares, newest, bin_end(index), level) for newest in sizes]
    if not tests:
        return None
    slowest = min(tests, key=lambda test: test.p_value)
    is_detected = slowest.p_value <= level / len(tests)
    return LabelSlowing(
        is_detected,
        slowest.age_s,
        slowest.share,
        slowest.usual_share,
        slowest.since,
        slowest.rows,
        slowest.p_value,
        level,
        len(tests),
    )


def _ages_to_compare(counts: CohortCounts, curve: MaturityCurve | None) -> Sequence[int]:
    """The bins at whose end cohorts are compared."""
    if not counts.labels:
        return ()
    shares = np.cumsum(counts.counts.sum(axis=(0, 1))) / counts.labels if curve is None else curve.shares[0]
    return np.unique(np.searchsorted(shares, np.array(_QUANTILES) - 1e-12)).tolist()


def _shares_at(counts: CohortCounts, index: int) -> _Shares:
    by_age = counts.counts[:, :, : index + 1].sum(axis=(1, 2))
    facts = [(cohort.start, cohort.rows, labels) for cohort, labels in zip(counts.cohorts, by_age, strict=True)]
    alive = [fact for fact, cohort in zip(facts, counts.cohorts, strict=True) if cohort.reach > index]
    start, rows, labels = np.array(alive, dtype=np.float64).reshape(-1, 3).T
    return _Shares(start, rows, labels)


def _test(shares: _Shares, newest: int, age_s: float, level: float) -> LabelSlowing:
    """A t-test of the mean angle of the newest cohorts against that of the others, weighted by their requests."""
    angles, rows = shares.angles, shares.rows
    usual, usual_rows = angles[:-newest], rows[:-newest]
    between = max(0.0, float(np.var(usual, ddof=1)) - float(np.mean(1 / usual_rows)))
    precision = 1 / (between + 1 / usual_rows)
    mean = float(np.average(usual, weights=precision))
    new_rows = rows[-newest:]
    chance = 1 / float(new_rows.sum())
    lasting = _lasting_spread(usual, usual_rows)
    memory = max(1.0, lasting * _LASTING / between) if between else 1.0
    spread, freedom = between / newest, max(_LEAST_FREEDOM, len(usual) / memory - 1)  # of cohorts that tell apart
    if newest > 1:
        spread, freedom = max(spread, lasting), 1.5 * len(usual) / newest
    of_mean = max(1 / float(precision.sum()), lasting * _LASTING / len(usual))
    new_mean = float(np.average(angles[-newest:], weights=new_rows))
    t = (new_mean - mean) / math.sqrt(chance + spread + of_mean)
    return LabelSlowing(
        False,
        age_s,
        share=float(shares.labels[-newest:].sum() / new_rows.sum()),
        usual_share=float(shares.labels[:-newest].sum() / usual_rows.sum()),
        since=float(shares.start[-newest]),
        rows=int(new_rows.sum()),
        p_value=float(student.cdf(t, freedom)),
        level=level,
        tests=1,
    )


def _lasting_spread(angles: Vector, rows: Vector) -> float:
    """The variance of the means of seven neighbours beyond chance, which holds what lasts longer than a cohort; 0 for
    fewer than three such means."""
    if len(angles) < 3 * _LASTING:
        return 0.0
    size = np.convolve(rows, np.ones(_LASTING), "valid")
    means = np.convolve(angles * rows, np.ones(_LASTING), "valid") / size
    # The mean of all is one of its own: of n / 7 means that do not overlap, one degree of freedom is gone.
    variance = float(np.var(means)) * len(angles) / (len(angles) - _LASTING)
    return max(0.0, variance - float(np.mean(1 / size)))
