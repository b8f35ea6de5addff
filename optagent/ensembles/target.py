"""Target of an ensemble: one metric, or several weighed against each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optagent.arrays import Counts, Prediction, Rows, Vector
from optagent.ensembles.fast_scores import worths_by_metric
from optagent.ensembles.members import Members
from optagent.ensembles.mixing import OneMoreDraw, Weightings
from optagent.errors import InvalidRequest
from optagent.training.metrics import Metric

ROUNDING = 1e-12
"""The share of a worth by which two equal worths may differ."""


@dataclass(frozen=True, slots=True)
class Target:
    """Worth is the sum of the metrics, signed so that larger is better, each divided by its scale.

    The first metric is the one that an ensemble has to improve; no other may become worse.
    """

    metrics: tuple[Metric, ...]
    scales: tuple[float, ...]

    def worths(self, members: Members, weightings: Weightings) -> Vector:
        """(weightings,) worths; raises InvalidData where a metric is undefined on these rows."""
        parts = zip(self.metrics, self.scales, strict=True)
        return np.sum([worths_by_metric(members, metric, weightings) / scale for metric, scale in parts], axis=0)

    def worth(self, y: Vector, prediction: Prediction) -> float:
        """The worth of one prediction, by the metrics themselves."""
        parts = zip(self.metrics, self.scales, strict=True)
        return sum((1 if metric.maximize else -1) * metric.score(y, prediction) / scale for metric, scale in parts)

    def singles(self, members: Members) -> Vector:
        """The worth of each model alone."""
        return gains(members, self, np.zeros(len(members), dtype=np.int64), np.arange(len(members)))


def target_of(members: Members, metrics: Sequence[Metric]) -> Target:
    """The target of some metrics: one metric in its own unit; several, each in units of its spread over the models."""
    if not metrics:
        raise InvalidRequest("an ensemble needs at least one metric to be good at")
    wrong = sorted(metric.name for metric in metrics if members.task not in metric.tasks)
    if wrong:
        raise InvalidRequest(f"{', '.join(wrong)}: not a metric of a {members.task} model")
    if len(metrics) == 1:
        return Target(tuple(metrics), (1.0,))
    spreads = [float(np.std(Target((metric,), (1.0,)).singles(members))) for metric in metrics]
    return Target(tuple(metrics), tuple(spread or 1.0 for spread in spreads))


def gains(members: Members, target: Target, counts: Counts, candidates: Rows) -> Vector:
    """(candidates,) worths of the mean of the models drawn so far (`counts` times each) with each candidate drawn once
    more.

    Candidates do not depend on each other, so that several processes can take a share of them each.
    """
    return target.worths(members, OneMoreDraw(counts, candidates))


def best_of(worths: Vector, order: Rows) -> int:
    """The position of the largest worth; among those that differ by rounding only, the first in `order`.

    Raises InvalidRequest where none is finite.
    """
    ranked = np.where(np.isfinite(worths), worths, -np.inf)[order]
    most = float(ranked.max())
    if not np.isfinite(most):
        raise InvalidRequest("no weighting of these models has a finite score")
    return int(order[np.flatnonzero(ranked >= most - ROUNDING * abs(most))[0]])
