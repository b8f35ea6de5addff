"""P-values of two samples whose rows repeat each other, in one window and in two.

Each sample comes as counts and a design effect: its rows are worth `rows / effect` independent ones.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, kolmogorov, ndtr, ndtri, owens_t
from scipy.stats import false_discovery_control

from optagent.analysis.distances import kolmogorov_smirnov, shares, total_variation
from optagent.arrays import Counts

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
class TestResult:
    """`noise` is one over the effective rows of the window: the variance of its shares, but for a factor."""

    effect: float
    p_value: float
    noise: float


def ordered_evidence(then: Sample, now: Sample) -> TestResult:
    """Kolmogorov-Smirnov over the bins, with the correction for small samples of Stephens 1970."""
    effect = kolmogorov_smirnov(then.counts, now.counts)
    root = math.sqrt(_together(then, now))
    return TestResult(effect, float(kolmogorov((root + 0.12 + 0.11 / root) * effect)), 1 / now.effective)


def category_evidence(then: Sample, now: Sample) -> TestResult:
    """Chi-square of two samples, divided by the design effect (Rao and Scott 1981, first order)."""
    p, q = shares(then.counts), shares(now.counts)
    pooled = (p * then.effective + q * now.effective) / (then.effective + now.effective)
    rare = pooled * min(then.effective, now.effective) < _LEAST_EXPECTED
    p, q, pooled = (np.append(part[~rare], part[rare].sum()) for part in (p, q, pooled))
    cells = pooled > 0
    statistic = float(((p - q)[cells] ** 2 / pooled[cells]).sum()) * _together(then, now)
    p_value = float(chdtrc(cells.sum() - 1, statistic)) if cells.sum() > 1 else 1.0
    return TestResult(total_variation(then.counts, now.counts), p_value, 1 / now.effective)


def share_evidence(then: Sample, now: Sample) -> TestResult:
    """Whether the share of the second of two bins changed: normal, with the continuity correction of Yates."""
    p, q = (float(shares(sample.counts)[1]) for sample in (then, now))
    pooled = (p * then.effective + q * now.effective) / (then.effective + now.effective)
    off = max(0.0, abs(p - q) - (1 / then.effective + 1 / now.effective) / 2)
    spread = math.sqrt(pooled * (1 - pooled) / _together(then, now))
    return TestResult(abs(p - q), float(2 * ndtr(-off / spread)) if spread else 1.0, 1 / now.effective)


def persistent(now: TestResult, before: TestResult, reference_noise: float) -> float:
    """The chance that two windows in a row, of a world without drift, both look as unlike the reference as these.

    For independent windows it is the square of the larger p-value. Windows are compared with the same reference,
    however, whose noise they share: they agree more often, which is reckoned with as for two normal variables of that
    correlation (Owen 1956).
    """
    largest = max(now.p_value, before.p_value)
    if largest >= 1.0 or largest <= 0.0:
        return largest
    spreads = (reference_noise + now.noise) * (reference_noise + before.noise)
    correlation = reference_noise / math.sqrt(spreads)
    z = -float(ndtri(largest / 2))
    slope = math.sqrt((1 - correlation) / (1 + correlation))
    if slope == 0.0:
        return largest
    both = 2 * largest - 4 * float(owens_t(z, slope) + owens_t(z, 1 / slope))
    return min(largest, max(largest**2, both))


def adjusted(p_values: list[float]) -> list[float]:
    """Benjamini and Hochberg's, over all tests."""
    return list(false_discovery_control(p_values, method="bh").tolist()) if p_values else []


def _together(then: Sample, now: Sample) -> float:
    return 1 / (1 / then.effective + 1 / now.effective)
