"""Slot shares: the parts that the slots' margins have in the margin of a mixture's answer.

A mixture of regressions is a weighted sum of its slots, so a share is a weight. One of two classes weighs log-odds in
its mixers and probabilities in its layers: a share is then the mean slope of its log-odds along the straight line from
the slots' bases to their margins, so that the shares of the differences sum to that of the answer (Aumann and Shapley
1974; Sundararajan, Taly and Yan 2017). Where one mixer answers alone, these are its weights.
"""

from functools import lru_cache

import numpy as np

from optagent.arrays import Vector
from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import Task
from optagent.domain.slot import CHAMPION_SLOT
from optagent.mixing.forms import LOW, Array
from optagent.mixing.scorer import MixtureScorer

_POINTS = 32
_LEAST = 1e-300


class SlotShares:
    """Shares of the slots of one set of weights. It stores nothing of a call, so threads may share it."""

    def __init__(self, weights: MixtureWeights) -> None:
        slots = len(weights.slots)
        mixers = np.array(weights.mixers)
        members = np.array(weights.top) @ np.array(weights.layers) * (1 - weights.guard)
        self._weights, self._is_binary, self._scorer = weights, weights.task is Task.BINARY, MixtureScorer(weights)
        self._mixers, self._biases = mixers[:, :slots], mixers[:, slots]
        self._of_mixers = members[: len(mixers)]
        self._of_slots = members[len(mixers) : -1] + members[-1] / slots
        self._of_slots[weights.slots.index(CHAMPION_SLOT)] += weights.guard

    def shares(self, base: Vector, margins: Array) -> Array:
        """(rows, slots) the shares for `margins` (rows, slots), log-odds or values, whose bases are (slots,)."""
        nodes, parts = _quadrature()
        moved = margins - base
        along = base + nodes[:, None, None] * moved
        slopes = self._find_slopes(along.reshape(-1, len(base))).reshape(along.shape)
        shares: Array = np.einsum("q,qrs->rs", parts, slopes)
        answers = self.answer_margins(np.concatenate([base[None], margins]))
        rest = answers[1:] - answers[0] - (shares * moved).sum(axis=1)  # where a probability reaches its bound
        return shares + rest[:, None] * moved / np.maximum((moved * moved).sum(axis=1, keepdims=True), _LEAST)

    def answer_margins(self, margins: Array) -> Vector:
        """(rows,) the margins of the answers to these of the slots, (rows, slots)."""
        scores = _to_probabilities(margins) if self._is_binary else margins
        answer: Vector = self._scorer.mix(scores[:, :, None]).scores
        return np.log(answer / (1 - answer)) if self._is_binary else answer

    def _find_slopes(self, margins: Array) -> Array:
        """(rows, slots) the derivatives of the answer's margin by those of the slots."""
        if not self._is_binary:
            inside = (margins >= self._weights.low) & (margins <= self._weights.high)
            by_value: Array = inside * (self._of_mixers @ self._mixers + self._of_slots)
            return by_value
        bounded = _to_probabilities(margins)
        mixed = _to_probabilities(np.log(bounded / (1 - bounded)) @ self._mixers.T + self._biases)
        by_mixers = (self._of_mixers * _slopes_of(mixed)) @ self._mixers
        slopes = ((bounded > LOW) & (bounded < 1 - LOW)) * by_mixers + self._of_slots * _slopes_of(bounded)
        answer = mixed @ self._of_mixers + bounded @ self._of_slots
        by_margin: Array = slopes / (answer * (1 - answer))[:, None]
        return by_margin


def _to_probabilities(margins: Array) -> Array:
    return np.clip(1 / (1 + np.exp(-margins)), LOW, 1 - LOW)


def _slopes_of(probabilities: Array) -> Array:
    """The derivatives of probabilities by their log-odds, 0 where they are at a bound."""
    slopes: Array = probabilities * (1 - probabilities) * ((probabilities > LOW) & (probabilities < 1 - LOW))
    return slopes


@lru_cache(1)
def _quadrature() -> tuple[Array, Array]:
    """The points of Gauss-Legendre quadrature from 0 to 1, and their weights."""
    nodes, parts = np.polynomial.legendre.leggauss(_POINTS)
    return (nodes + 1) / 2, parts / 2
