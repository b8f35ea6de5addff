"""What each member has of an ensemble: its share of the weight, and of the time to answer."""

import math

import numpy as np

from optagent.arrays import Vector
from optagent.ensembles.members import Members
from optagent.training.average import WeightedMean
from optagent.training.combined import Combined


def weighted_mean(members: Members, weights: Vector) -> WeightedMean:
    """Of (models,) weights, without those that are 0."""
    kept = [int(index) for index in members.by_name if weights[index] > 0]
    total = math.fsum(float(weights[index]) for index in kept)
    names = tuple(members.names[index] for index in kept)
    return WeightedMean(members.task, names, tuple(float(weights[index]) / total for index in kept))


def weights_of(members: Members, combined: Combined) -> Vector:
    """(models,): the share of each in what the ensemble says, summing to 1 (0 everywhere if it heeds none)."""
    found = np.zeros(len(members))
    for name, weight in zip(combined.names, combined.weights, strict=True):
        found[members.names.index(name)] = abs(weight)
    return found / (found.sum() or 1.0)


def latency_of(members: Members, ensemble: Combined) -> float | None:
    """Of its members one after the other, where known."""
    if members.latency_ms is None:
        return None
    return math.fsum(members.latency_ms[members.names.index(name)] for name in ensemble.names)
