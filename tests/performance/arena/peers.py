"""Peers of the arena: ADWIN as a trigger, river's adaptive random forest, and the labels of the last block repeated."""

from dataclasses import dataclass, field
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Vector
from tests.performance.arena.calendars import fit_model
from tests.performance.arena.entrant import Known

WINDOW = 30
"""The newest blocks from which a model learns when ADWIN alarms."""


@dataclass(slots=True)
class AdwinTrigger:
    """Trains again when ADWIN (Bifet & Gavaldà 2007) finds that the errors of the answers have changed."""

    trainings: int = 0
    _model: lgb.Booster | None = None
    _detector: Any = None
    _read: int = 0

    def learn(self, known: Known) -> None:
        from river.drift import ADWIN

        if self._model is None:
            self._model, self._detector, self._read = fit_model(known), ADWIN(), len(known.y)
            self.trainings = 1
            return
        if self._alarms(known):
            model = fit_model(known, known.back(WINDOW))
            if model is not None:
                self._model, self._detector, self.trainings = model, ADWIN(), self.trainings + 1

    def answer(self, x: Matrix) -> Vector:
        assert self._model is not None, "the first rows are of two classes"
        return np.asarray(self._model.predict(x))

    def _alarms(self, known: Known) -> bool:
        alarm = False
        answers, labels = known.answers[self._read :], known.y[self._read :]
        for answer, label in zip(answers.tolist(), labels.tolist(), strict=True):
            if answer == answer:
                self._detector.update(float((answer >= 0.5) != label))
                alarm |= self._detector.drift_detected
        self._read = len(known.y)
        return alarm


@dataclass(slots=True)
class AdaptiveForest:
    """river's adaptive random forest (Gomes et al. 2017), which learns from each row when its label comes."""

    trainings: int = 0
    _forest: Any = None
    _read: int = 0
    _names: tuple[str, ...] = ()
    _categorical: frozenset[int] = field(default_factory=frozenset)

    def learn(self, known: Known) -> None:
        if self._forest is None:
            from river.forest import ARFClassifier

            self._forest = ARFClassifier(seed=0)
            self._names, self._categorical = known.columns, frozenset(known.categorical)
        for values, label in zip(known.x[self._read :].tolist(), known.y[self._read :].tolist(), strict=True):
            self._forest.learn_one(self._row(values), int(label))
        self._read = len(known.y)

    def answer(self, x: Matrix) -> Vector:
        return np.array([self._forest.predict_proba_one(self._row(values)).get(1, 0.0) for values in x.tolist()])

    def _row(self, values: list[float]) -> dict[str, float | str]:
        """The values by name, codes as texts; a missing one is left out."""
        return {
            name: str(int(value)) if place in self._categorical else value
            for place, (name, value) in enumerate(zip(self._names, values, strict=True))
            if value == value
        }


@dataclass(slots=True)
class LastBlock:
    """The labels of the newest known block, row by row, in the place of a model.

    A label is answered by the share of 1 among the rows that such a label preceded, so that log loss can judge it. The
    counts of pairs begin with one each.
    """

    trainings: int = 0
    _counts: npt.NDArray[np.float64] = field(default_factory=lambda: np.ones((2, 2)))
    _asked: Vector = field(default_factory=lambda: np.zeros(0))
    _labels: Vector = field(default_factory=lambda: np.zeros(0))

    def learn(self, known: Known) -> None:
        self._labels = known.y[known.newest]
        labels = known.y[np.isfinite(known.answers)]
        labels = labels[int(self._counts.sum() - 4) :]
        np.add.at(self._counts, (self._asked[: len(labels)].astype(int), labels.astype(int)), 1)
        self._asked = self._asked[len(labels) :]

    def answer(self, x: Matrix) -> Vector:
        repeated = self._labels[np.minimum(np.arange(len(x)), len(self._labels) - 1)]
        self._asked = np.append(self._asked, repeated)
        return (self._counts[:, 1] / self._counts.sum(axis=1))[repeated.astype(int)]
