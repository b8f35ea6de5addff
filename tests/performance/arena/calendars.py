"""Calendars: LightGBM's defaults trained again every so many blocks, on all known rows or on the newest blocks."""

from dataclasses import dataclass, field

import lightgbm as lgb
import numpy as np

from optagent.arrays import Matrix, Vector
from tests.performance.arena.entrant import Known

ROUNDS, LEARNING_RATE, LEAVES = 100, 0.05, 31
PARAMS = {
    "objective": "binary",
    "verbose": -1,
    "num_threads": 1,
    "learning_rate": LEARNING_RATE,
    "num_leaves": LEAVES,
    "seed": 0,
}
"""The recipe of every entrant that trains LightGBM."""

EVERY = (1, 10, 30)
BACK = (None, 30, 90)


def fit_model(known: Known, first: int = 0) -> lgb.Booster | None:
    """A model of the known rows from `first` on; None where they are all of one class."""
    x, y = known.x[first:], known.y[first:]
    if not 0 < y.mean() < 1:
        return None
    return lgb.train(PARAMS, lgb.Dataset(x, y, categorical_feature=list(known.categorical)), ROUNDS)


@dataclass(slots=True)
class Calendar:
    """Trains on what is known at the start, then `every` so many blocks, None for never, on the newest `back` blocks
    or on all rows."""

    every: int | None = None
    back: int | None = None
    trainings: int = 0
    model: lgb.Booster | None = field(default=None, repr=False)

    def learn(self, known: Known) -> None:
        if self.model is None:
            self._train(known, 0)
        elif self.every is not None and known.looks % self.every == 0:
            self._train(known, 0 if self.back is None else known.back(self.back))

    def answer(self, x: Matrix) -> Vector:
        assert self.model is not None, "the first rows are of two classes"
        return np.asarray(self.model.predict(x))

    def _train(self, known: Known, first: int) -> None:
        model = fit_model(known, first)
        if model is not None:
            self.model, self.trainings = model, self.trainings + 1


def calendar_name(every: int, back: int | None) -> str:
    """
    >>> calendar_name(1, None), calendar_name(10, 30)
    ('every block, all rows', 'every 10 blocks, newest 30')
    """
    rhythm = "every block" if every == 1 else f"every {every} blocks"
    return f"{rhythm}, {'all rows' if back is None else f'newest {back}'}"
