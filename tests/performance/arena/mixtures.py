"""Mixtures of the arena without the loop: the product's learner over slots of a calendar, or over one model."""

from collections.abc import Sequence

import lightgbm as lgb
import numpy as np

from optagent.arrays import Matrix, Vector
from optagent.domain.model import Task
from optagent.domain.slot import CHAMPION_SLOT, DEFAULT_SLOTS, parse_slot
from optagent.mixing.forms import Array
from optagent.mixing.learner import LearnedRows, MixtureLearner
from optagent.mixing.scorer import MixtureScorer
from tests.performance.arena.calendars import fit_model
from tests.performance.arena.entrant import Known

LEAST_ROWS = 400
"""The fewest rows that a slot's model learns from."""


class CalendarMixture:
    """Answers by the weights of the slots, whose models are trained `every` so many blocks, None for never.

    With the champion's slot alone nothing is trained: its probabilities are only calibrated again, row by row.
    """

    def __init__(self, slots: Sequence[str] = DEFAULT_SLOTS, every: int | None = None) -> None:
        self.trainings = 0
        self.learner = MixtureLearner(Task.BINARY, slots)
        self._every = every
        self._models: dict[str, lgb.Booster] = {}
        self._waiting: list[tuple[Array, Vector]] = []

    def learn(self, known: Known) -> None:
        if not self._models:
            first = fit_model(known)
            assert first is not None, "the first rows are of two classes"
            self._models, self.trainings = dict.fromkeys(self.learner.slots, first), 1
        self._learn_weights(known.y[np.isfinite(known.answers)])
        if self._every is not None and known.looks and known.looks % self._every == 0:
            self._train_slots(known)

    def answer(self, x: Matrix) -> Vector:
        by_model = {id(model): np.asarray(model.predict(x)) for model in self._models.values()}
        scores = np.stack([by_model[id(self._models[name])] for name in self.learner.slots], axis=1)
        answer = MixtureScorer(self.learner.weights(self.learner.slots)).mix(scores[:, :, None])
        self._waiting.append((answer.said, answer.scores))
        return answer.scores

    def _learn_weights(self, labels: Vector) -> None:
        """Learns the answers whose labels have come, in their order; `labels` are those of all answers so far."""
        learned = self.learner.rows
        while self._waiting and learned + len(self._waiting[0][1]) <= len(labels):
            said, scores = self._waiting.pop(0)
            y = labels[learned : learned + len(scores)]
            self.learner.learn(LearnedRows(self.learner.slots, said, scores[:, None], y))
            learned += len(scores)

    def _train_slots(self, known: Known) -> None:
        for name in self.learner.slots:
            share = parse_slot(name).share
            if share is None:
                continue
            rows = max(LEAST_ROWS, int(len(known.y) * share))
            model = fit_model(known, max(0, len(known.y) - rows))
            if model is not None:
                self._models[name], self.trainings = model, self.trainings + 1


def recalibration() -> CalendarMixture:
    """The first model alone, under a mixture that calibrates it."""
    return CalendarMixture((CHAMPION_SLOT,))
