"""Votes of equal weight: the mean of all members' predictions, or of their labels."""

import numpy as np

from optagent.ensembles.members import Members
from optagent.ensembles.shares import weighted_mean
from optagent.training.average import HardVote, WeightedMean


def soft_vote(members: Members) -> WeightedMean:
    """The plain mean of the probabilities, or of the values."""
    return weighted_mean(members, np.full(len(members), 1 / len(members)))


def hard_vote(members: Members) -> HardVote:
    """The share of the members' labels; raises InvalidRequest for a regression."""
    mean = soft_vote(members)
    return HardVote(mean.task, mean.names, mean.weights)
