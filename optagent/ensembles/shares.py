"""Shares of the members in an ensemble: of the weight, and of the time to answer."""

import math

import numpy as np

from optagent.arrays import Vector
from optagent.ensembles.members import Members
from optagent.training.average import WeightedMean
from optagent.training.combined import Combined


def weighted_mean(members: Members, weights: Vector) -> WeightedMean:
    """The weighted mean of (models,) weights, without the members of weight 0."""
    positions = [int(index) for index in members.by_name if weights[index] > 0]
    total = math.fsum(float(weights[index]) for index in positions)
    names = tuple(members.names[index] for index in positions)
    return WeightedMean(members.task, names, tuple(float(weights[index]) / total for index in positions))


def weights_of(members: Members, combined: Combined) -> Vector:
    """(models,): the share of each model in the ensemble's prediction, summing to 1 (0 everywhere where all weights are
    0)."""
    shares = np.zeros(len(members))
    for name, weight in zip(combined.names, combined.weights, strict=True):
        shares[members.names.index(name)] = abs(weight)
    return shares / (shares.sum() or 1.0)


def latency_of(members: Members, ensemble: Combined) -> float | None:
    """The latency of the ensemble's members one after the other, where known."""
    if members.latency_ms is None:
        return None
    return math.fsum(members.latency_ms[members.names.index(name)] for name in ensemble.names)
