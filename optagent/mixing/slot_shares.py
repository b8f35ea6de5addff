"""Slot shares: the parts that the slots' margins have in the margin of a mixture's answer.

A mixture of regressions is a weighted sum of its slots, so a share is a weight. One of two classes weighs log-odds in
its mixers and probabilities in its layers: a share is then the mean slope of its log-odds along the straight line from
the slots' bases to their margins, so that the shares of the differences sum to that of the answer (Aumann and Shapley
1974; Sundararajan, Taly and Yan 2017). Where one mixer answers alone, these are its weights.
"""

import numpy as np

from optagent.arrays import Vector
from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import Task
from optagent.domain.slot import CHAMPION_SLOT
from optagent.mixing.forms import LOW, Array
from optagent.mixing.scorer import MixtureScorer

_POINTS = 32
_LEAST = 1e-300


def slot_shares(weights: MixtureWeights, base: Vector, margins: Array) -> Array:
    """(rows, slots) the shares for `margins` (rows, slots), log-odds or values, whose bases are (slots,)."""
    nodes, parts = np.polynomial.legendre.leggauss(_POINTS)
    moved = margins - base
    along = base + (nodes[:, None, None] + 1) / 2 * moved
    slopes = _find_slopes(weights, along.reshape(-1, len(base))).reshape(along.shape)
    shares: Array = np.einsum("q,qrs->rs", parts / 2, slopes)
    whole = answer_margins(weights, margins) - answer_margins(weights, base[None])
    rest = whole - (shares * moved).sum(axis=1)  # where a probability reaches its bound on the way
    return shares + rest[:, None] * moved / np.maximum((moved * moved).sum(axis=1, keepdims=True), _LEAST)


def answer_margins(weights: MixtureWeights, margins: Array) -> Vector:
    """(rows,) the margins of the answers to these of the slots, (rows, slots)."""
    is_binary = weights.task is Task.BINARY
    scores = _to_probabilities(margins) if is_binary else margins
    answer: Vector = MixtureScorer(weights).mix(scores[:, :, None]).scores
    return np.log(answer / (1 - answer)) if is_binary else answer


def _find_slopes(weights: MixtureWeights, margins: Array) -> Array:
    """(rows, slots) the derivatives of the answer's margin by those of the slots."""
    slots = len(weights.slots)
    mixers, biases = np.array(weights.mixers)[:, :slots], np.array(weights.mixers)[:, slots]
    members = np.array(weights.top) @ np.array(weights.layers)
    members *= 1 - weights.guard
    of_slots = members[len(mixers) : -1] + members[-1] / slots
    of_slots[weights.slots.index(CHAMPION_SLOT)] += weights.guard
    if weights.task is not Task.BINARY:
        inside = (margins >= weights.low) & (margins <= weights.high)
        by_value: Array = inside * (members[: len(mixers)] @ mixers + of_slots)
        return by_value
    bounded = _to_probabilities(margins)
    inside = (bounded > LOW) & (bounded < 1 - LOW)
    mixed = _to_probabilities(np.log(bounded / (1 - bounded)) @ mixers.T + biases)
    by_mixers = (members[: len(mixers)] * mixed * (1 - mixed) * ((mixed > LOW) & (mixed < 1 - LOW))) @ mixers
    slopes = inside * (by_mixers + of_slots * bounded * (1 - bounded))
    answer = mixed @ members[: len(mixers)] + bounded @ of_slots
    by_margin: Array = slopes / (answer * (1 - answer))[:, None]
    return by_margin


def _to_probabilities(margins: Array) -> Array:
    return np.clip(1 / (1 + np.exp(-margins)), LOW, 1 - LOW)
