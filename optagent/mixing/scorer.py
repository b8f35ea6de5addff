"""Mixture scorer: one answer out of the scores of all slots, by published weights, with what each layer said."""

import math
from dataclasses import dataclass

import numpy as np

from optagent.arrays import Prediction
from optagent.domain.mixture import MixtureWeights
from optagent.domain.slot import CHAMPION_SLOT
from optagent.mixing.forms import Array, form_of


@dataclass(frozen=True, slots=True, eq=False)
class MixtureAnswer:
    """The answer to some rows, and what is recorded with it.

    `scores` are those of `Predictor.scores`. `said` is (rows, members + layers, outputs): bounded scores of the mixers,
    of the slots alone (NaN for one that did not answer) and of their mean, then of each layer.
    """

    scores: Prediction
    said: Array


class MixtureScorer:
    """Mixes by one set of weights. It stores nothing of a call, so threads may share it."""

    def __init__(self, weights: MixtureWeights) -> None:
        self.weights = weights
        self._form = form_of(weights.task, weights.outputs, weights.low, weights.high)
        self._mixers = np.array(weights.mixers)
        self._layers = np.array(weights.layers)
        self._top = np.array(weights.top)
        self._rates, self._count = len(weights.mixers), np.array(float(len(weights.slots)))
        self._slots = slice(self._rates, self._rates + len(weights.slots))
        self._members = self._slots.stop + 1
        self._champion = weights.slots.index(CHAMPION_SLOT)

    def mix(self, slot_scores: Array) -> MixtureAnswer:
        """The answer to rows by scores (rows, slots, outputs); a slot with a NaN is left out of its row.

        The others' mean stands in for it. Rows that no slot has scored give NaN.
        """
        return self.mix_bounded(self._form.bound(slot_scores))

    def mix_bounded(self, bounded: Array) -> MixtureAnswer:
        """The answer by scores that are within the bounds of the loss already."""
        answered = bounded
        mean = np.add.reduce(answered, 1, keepdims=True)
        if not math.isfinite(np.add.reduce(mean, None)):
            answered = impute_missing(bounded)
            mean = np.add.reduce(answered, 1, keepdims=True)
        np.divide(mean, self._count, out=mean)
        said: Array = np.empty((len(bounded), self._members + len(self._top), bounded.shape[2]))
        members, layers = said[:, : self._members], said[:, self._members :]
        said[:, : self._rates] = self._form.mix(self._mixers, answered)
        said[:, self._slots] = answered
        members[:, -1:] = mean
        np.einsum("lm,nmc->nlc", self._layers, members, out=layers)
        answer = np.einsum("l,nlc->nc", self._top, layers)
        if self.weights.guard:
            guard = self.weights.guard
            answer = (1 - guard) * answer + guard * answered[:, self._champion]
        if answered is not bounded:
            said[:, self._slots] = bounded
        scores = self._form.unscale(answer)
        return MixtureAnswer(scores if scores.shape[1] > 1 else scores[:, 0], said)


def impute_missing(slots: Array) -> Array:
    """Scores (rows, slots, outputs) with the mean of the others in the place of a slot that did not answer."""
    missing = np.isnan(slots)
    if not missing.any():
        return slots
    present = (~missing).sum(axis=1, keepdims=True)
    total = np.where(missing, 0.0, slots).sum(axis=1, keepdims=True)
    mean = np.divide(total, present, out=np.full(total.shape, np.nan), where=present > 0)
    return np.where(missing, mean, slots)
