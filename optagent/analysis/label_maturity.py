"""Maturity curve: the distribution of the age at which labels come, estimated from right-truncated delays.

A label that has come by an age below that of its request is seen; a later one is not, and neither is its outcome. So
each outcome's curve is estimated from its labels alone, by hazards in reversed time: F(a) is the product, over the ages
s above a, of 1 - d(s) / r(s), where d(s) labels came at age s, and r(s) came by age s to requests that are at least s
old (Lagakos, Barraj and De Gruttola 1988, Nonparametric analysis of truncated survival data; Kalbfleisch and Lawless
1989). Requests that never get a label do not enter. F is 1 at the largest age observed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.domain.label_maturity import ALL, LabelCohort, LabelHistory, LabelMaturity, OutcomeMaturity

Bins = npt.NDArray[np.int64]

MATURE = 0.99
"""The share of the labels that ever come from which on a window, or a row, counts as matured."""

DRAWS = 100

_BINS_A_DOUBLING = 16  # 4 % of an age: labels that come all at one age are seen as if spread over so much
_MOST_BINS = 16 * 25 + 1  # 388 days
_FEWEST_COHORTS = 3  # that lived through the largest age of a curve
_FEWEST_LABELS = 50  # of an outcome with a curve of its own
_STILL_COMING = 0.01  # of the labels, in the older half of the ages observed
_FEW_LATE = 3  # labels, which are no sign that more will come
_BACKDATED = 0.05  # of the labels
_POINTS = 40


def bins_of_ages(age_s: Vector) -> Bins:
    """The bin of each age; bin 0 is below a second, of the others 16 double the age."""
    bins = np.floor(_BINS_A_DOUBLING * np.log2(np.clip(age_s, 1.0, bin_end(_MOST_BINS))) + 1e-9).astype(np.int64) + 1
    return np.where(age_s < 1.0, 0, np.minimum(bins, _MOST_BINS))


def bin_end(index: int) -> float:
    """The age in seconds at which a bin ends.

    >>> bin_end(0), bin_end(16)
    (1.0, 2.0)
    """
    return float(2.0 ** (index / _BINS_A_DOUBLING))


@dataclass(frozen=True, slots=True, eq=False)
class MaturityCurve:
    """The shares that have come by the end of each bin of age, of the labels that ever come.

    `shares` is (1 + outcomes, bins), that of all labels first; an outcome with too few labels has that, too. `draws` is
    (draws, 1 + outcomes, bins): the same with the cohorts weighted at random (Rubin 1981, The Bayesian bootstrap),
    which holds the curve's own error, days that differ included. `labels` is (1 + outcomes,) counts.
    """

    outcomes: tuple[str, ...]
    shares: Vector
    draws: Vector
    labels: Bins
    ever: float

    @property
    def span_s(self) -> float:
        """The largest age observed."""
        return bin_end(self.shares.shape[1] - 1)

    def shares_at(self, outcome: Bins, age_s: Vector) -> Vector:
        """The share of each row's outcome that has come by its age; see `_interpolation`."""
        return _interpolation(self.shares[None], outcome, age_s)[0]

    def draws_at(self, outcome: Bins, age_s: Vector) -> Vector:
        """(draws, rows) of the same."""
        return _interpolation(self.draws, outcome, age_s)

    def age_of(self, share: float, outcome: int | None = None) -> float:
        """The age in seconds by which a share of the labels of an outcome has come, by default of the slowest."""
        if outcome is None:
            return max(self.age_of(share, index) for index in range(len(self.shares)))
        return bin_end(int(np.searchsorted(self.shares[outcome], share - 1e-12)))


def maturity_curve(history: LabelHistory, label_delay_s: float, draws: int = DRAWS) -> MaturityCurve | str:
    """The curve of a history, or the reason why there is none.

    `label_delay_s` is the user's bound, 0 without one: a curve that does not reach it, or, without it, labels that
    still come at the largest age observed, leave unknown how many ever come.
    """
    counts = CohortCounts(history.cohorts, len(history.outcomes))
    if counts.labels and sum(cohort.backdated for cohort in counts.cohorts) > _BACKDATED * counts.labels:
        return "labels come later than their time says: record the time at which a label came, or none"
    bins = counts.common_reach(_FEWEST_COHORTS)
    if bins is None:
        return f"labels of {len(counts.cohorts)} stretches of time were counted, at least {_FEWEST_COHORTS} are needed"
    if counts.labels < _FEWEST_LABELS:
        return f"{counts.labels} labels, at least {_FEWEST_LABELS} are needed"
    if bin_end(bins) < label_delay_s:
        return f"no requests as old as the label delay of {label_delay_s / 86_400:.3g} d were observed yet"
    weights = np.random.default_rng(0).exponential(size=(draws, len(counts.cohorts)))
    (shares,), drawn = (counts.shares(each, bins) for each in (np.ones((1, len(counts.cohorts))), weights))
    labels = counts.labels_by_outcome
    scarce = np.flatnonzero(labels < _FEWEST_LABELS)
    shares[scarce], drawn[:, scarce] = shares[0], drawn[:, :1]
    curve = MaturityCurve(history.outcomes, shares, drawn, labels, counts.ever(shares[0]))
    late = (1 - shares[:, max(0, bins - 1 - _BINS_A_DOUBLING)]) * np.maximum(labels, _FEWEST_LABELS)
    if not label_delay_s and (late > np.maximum(_STILL_COMING * labels, _FEW_LATE)).any():
        return f"labels still come at the largest age observed, {curve.span_s / 86_400:.3g} d"
    return curve


def label_maturity(history: LabelHistory, curve: MaturityCurve | str, label_delay_s: float) -> LabelMaturity:
    """The curve as people read it."""
    maturity = LabelMaturity(
        requests=sum(cohort.rows for cohort in history.cohorts),
        cohorts=sum(cohort.rows > 0 for cohort in history.cohorts),
        label_delay_s=label_delay_s or None,
    )
    if isinstance(curve, str):
        return LabelMaturity(maturity.requests, maturity.cohorts, label_delay_s=maturity.label_delay_s, reason=curve)
    return LabelMaturity(
        requests=maturity.requests,
        cohorts=maturity.cohorts,
        ever=curve.ever,
        outcomes=tuple(_outcome_maturity(curve, index, name) for index, name in enumerate((ALL, *curve.outcomes))),
        points=_points(curve),
        label_delay_s=maturity.label_delay_s,
        suggested_label_delay_s=curve.age_of(MATURE),
    )


def maturing_age(curve: MaturityCurve | None, label_delay_s: float) -> float:
    """The age in seconds from which on a row counts as matured, for the detectors: that by which .99 of the labels of
    the slowest outcome have come, and at most the user's `label_delay_s`, where that is not 0; 0 where nothing is
    known, so that every labelled row counts."""
    ages = [] if curve is None else [curve.age_of(MATURE)]
    return min([*ages, label_delay_s] if label_delay_s else ages, default=0.0)


def _outcome_maturity(curve: MaturityCurve, index: int, name: str) -> OutcomeMaturity:
    labels = int(curve.labels[index])
    if labels < _FEWEST_LABELS:
        return OutcomeMaturity(name, labels)
    return OutcomeMaturity(name, labels, *(curve.age_of(share, index) for share in (0.5, 0.9, MATURE)))


def _points(curve: MaturityCurve) -> tuple[tuple[float, float], ...]:
    """At most forty points of the curve of all labels, from the last age without any to that with all of them."""
    shares = curve.shares[0]
    first = max(0, int(np.searchsorted(shares, 1e-3)) - 1)
    last = int(np.searchsorted(shares, 1 - 1e-3))
    bins = np.unique(np.linspace(first, min(last, len(shares) - 1), _POINTS).astype(int))
    return tuple((bin_end(int(index)), round(float(shares[index]), 5)) for index in bins)


@dataclass(frozen=True, eq=False)
class CohortCounts:
    """The counts of the cohorts with rows as an array (cohorts, outcomes, bins)."""

    all_cohorts: Sequence[LabelCohort]
    n_outcomes: int

    @cached_property
    def cohorts(self) -> list[LabelCohort]:
        return [cohort for cohort in self.all_cohorts if cohort.rows and cohort.reach]

    @cached_property
    def counts(self) -> Vector:
        reach = max((cohort.reach for cohort in self.cohorts), default=0)
        counts = np.zeros((len(self.cohorts), self.n_outcomes, reach))
        for row, cohort in enumerate(self.cohorts):
            for outcome, by_bin in enumerate(cohort.counts):
                for index, labels in by_bin.items():
                    counts[row, outcome, index] = labels
        return counts

    @property
    def labels(self) -> int:
        return int(self.counts.sum())

    @property
    def labels_by_outcome(self) -> Bins:
        """(1 + outcomes,) labels, all of them first."""
        by_outcome = self.counts.sum(axis=(0, 2)).astype(np.int64)
        return np.append(by_outcome.sum(), by_outcome)

    def common_reach(self, cohorts: int) -> int | None:
        """The number of bins that at least so many cohorts lived through."""
        reaches = sorted((cohort.reach for cohort in self.cohorts), reverse=True)
        return reaches[cohorts - 1] if len(reaches) >= cohorts else None

    def shares(self, weights: Vector, bins: int) -> Vector:
        """(draws, 1 + outcomes, bins) curves, for (draws, cohorts) weights."""
        counts = self.counts[:, :, :bins]
        alive = np.array([cohort.reach for cohort in self.cohorts])[:, None] > np.arange(bins)
        below = np.cumsum(counts, axis=2) * alive[:, None, :]
        came, at_risk = (np.einsum("dk,kob->dob", weights, each) for each in (counts, below))
        came, at_risk = (np.concatenate([each.sum(axis=1, keepdims=True), each], axis=1) for each in (came, at_risk))
        survival = 1 - np.divide(came, at_risk, out=np.zeros_like(came), where=at_risk > 0)
        # The share by the end of a bin is the product over the later bins.
        later = np.cumprod(survival[:, :, ::-1], axis=2)[:, :, ::-1]
        return np.concatenate([later[:, :, 1:], np.ones_like(later[:, :, :1])], axis=2)

    def ever(self, share: Vector) -> float:
        """The share of the requests that ever get a label: labels by the number that the curve expects of all."""
        reaches = np.minimum([cohort.reach for cohort in self.cohorts], len(share))
        rows = np.array([cohort.rows for cohort in self.cohorts])
        labels = self.counts[:, :, : len(share)].sum()
        expected = float((rows * share[reaches - 1]).sum())
        return min(1.0, float(labels) / expected) if expected > 0 else math.nan


def _interpolation(shares: Vector, outcome: Bins, age_s: Vector) -> Vector:
    """(draws, rows) shares, linear between the ends of bins in the logarithm of the age."""
    place = np.clip(_BINS_A_DOUBLING * np.log2(np.maximum(age_s, 1.0)), 0, shares.shape[2] - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, shares.shape[2] - 1)
    part = place - below
    return np.asarray((1 - part) * shares[:, outcome + 1, below] + part * shares[:, outcome + 1, above])
