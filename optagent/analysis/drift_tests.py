"""Drift tests: p-values for two samples whose rows repeat each other, in one window and in two.

Each sample comes as counts and a design effect: its rows are worth `rows / effect` independent ones.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, chdtrc, kolmogorov, ndtr, ndtri, owens_t, stdtr
from scipy.stats import false_discovery_control

from optagent.analysis.distances import kolmogorov_smirnov, shares, total_variation
from optagent.arrays import Counts, Vector

_LEAST_EXPECTED = 5.0  # effective rows in a cell of a chi-square test; rarer categories are joined


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts by bin, and how often a row repeats another."""

    counts: Counts
    design: float

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    @property
    def effective(self) -> float:
        return self.rows / self.design


@dataclass(frozen=True, slots=True)
class TwoSampleResult:
    """A distance with its p-value.

    `noise` is one over the effective rows of the window: the variance of its shares, but for a factor.
    """

    effect: float
    p_value: float
    noise: float


def ks_test(then: Sample, now: Sample) -> TwoSampleResult:
    """Kolmogorov-Smirnov over the bins, with the correction for small samples of Stephens 1970."""
    effect = kolmogorov_smirnov(then.counts, now.counts)
    root = math.sqrt(_joint_rows(then, now))
    return TwoSampleResult(effect, float(kolmogorov((root + 0.12 + 0.11 / root) * effect)), 1 / now.effective)


def chi_square_test(then: Sample, now: Sample) -> TwoSampleResult:
    """Chi-square of two samples, divided by the design effect (Rao and Scott 1981, first order)."""
    p, q = shares(then.counts), shares(now.counts)
    pooled = (p * then.effective + q * now.effective) / (then.effective + now.effective)
    rare = pooled * min(then.effective, now.effective) < _LEAST_EXPECTED
    p, q, pooled = (np.append(part[~rare], part[rare].sum()) for part in (p, q, pooled))
    cells = pooled > 0
    statistic = float(((p - q)[cells] ** 2 / pooled[cells]).sum()) * _joint_rows(then, now)
    p_value = float(chdtrc(cells.sum() - 1, statistic)) if cells.sum() > 1 else 1.0
    return TwoSampleResult(total_variation(then.counts, now.counts), p_value, 1 / now.effective)


def proportion_test(then: Sample, now: Sample) -> TwoSampleResult:
    """Normal test for a change in the share of the second of two bins, with the continuity correction of Yates."""
    p, q = (float(shares(sample.counts)[1]) for sample in (then, now))
    pooled = (p * then.effective + q * now.effective) / (then.effective + now.effective)
    off = max(0.0, abs(p - q) - (1 / then.effective + 1 / now.effective) / 2)
    spread = math.sqrt(pooled * (1 - pooled) / _joint_rows(then, now))
    return TwoSampleResult(abs(p - q), float(2 * ndtr(-off / spread)) if spread else 1.0, 1 / now.effective)


def persistent_p_value(now: TwoSampleResult, before: TwoSampleResult, reference_noise: float) -> float:
    """The chance that two windows in a row, of a world without drift, both look as unlike the reference as these.

    For independent windows it is the square of the larger p-value. Windows are compared with the same reference,
    however, whose noise they share, so they agree more often: the p-value is that of two normal variables with this
    correlation (Owen 1956).
    """
    largest = max(now.p_value, before.p_value)
    if largest >= 1.0 or largest <= 0.0:
        return largest
    spreads = (reference_noise + now.noise) * (reference_noise + before.noise)
    correlation = reference_noise / math.sqrt(spreads)
    return float(both_beyond(-ndtri(largest / 2), np.float64(correlation)))


def both_beyond(z: Vector, correlation: Vector | np.float64) -> Vector:
    """The chance that two standard normal variables of this correlation, at least 0, are both as far from 0 as `z`."""
    alone = two_sided(z)
    slope = np.sqrt((1 - correlation) / (1 + correlation))
    with np.errstate(divide="ignore"):
        both = 2 * alone - 4 * (owens_t(np.abs(z), slope) + owens_t(np.abs(z), 1 / slope))
    return np.asarray(np.clip(np.where(slope > 0, both, alone), alone**2, alone))


def two_sided(z: Vector) -> Vector:
    """The p-values of normal scores."""
    return np.asarray(2 * ndtr(-np.abs(z)))


def share_scores(share: Vector, expected: Vector, variance: Vector) -> Vector:
    """Normal scores of shares: how far each is from the expected one, by the tails of a binomial share.

    The binomial has as many rows as give it this variance; unlike the normal law it holds for rare shares too.
    """
    rows = expected * (1 - expected) / variance
    hits = np.clip(share, 0.0, 1.0) * rows
    least = np.finfo(np.float64).tiny
    above = betainc(np.maximum(hits, least), rows - hits + 1, expected)
    below = betainc(np.maximum(rows - hits, least), hits + 1, 1 - expected)
    tail = np.clip(np.minimum(above, below), least, 0.5)
    return np.asarray(np.where(share >= expected, 1, -1) * -ndtri(tail))


def student_p_values(p_value: Vector, freedom: int) -> Vector:
    """P-values of normal scores as those of Student's t, for a variance that was estimated with so much freedom."""
    return np.asarray(2 * stdtr(freedom, ndtri(np.clip(p_value, np.finfo(np.float64).tiny, 1.0) / 2)))


def benjamini_hochberg(p_values: list[float]) -> list[float]:
    """The p-values of all tests, adjusted by the procedure of Benjamini and Hochberg."""
    return list(false_discovery_control(p_values, method="bh").tolist()) if p_values else []


def _joint_rows(then: Sample, now: Sample) -> float:
    return 1 / (1 / then.effective + 1 / now.effective)
