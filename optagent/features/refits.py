"""Refits of the current model: on plain columns or with features, on the rows of any fold, and never twice on the same
rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from optagent.arrays import Prediction, Rows, Vector
from optagent.domain.study import Budget
from optagent.errors import Infeasible
from optagent.training.crossfit import Crossfit
from optagent.training.families.family import Cache, Family, FittedModel
from optagent.training.label_encoding import start_fit
from optagent.training.metrics import Metric
from optagent.training.problem import Data, Fold, Problem

_MOST_ROUNDS = 300
_PATIENCE_ROUNDS = 30


@dataclass(frozen=True, slots=True)
class Learner:
    """A family with its parameters and its number of training rounds."""

    family: Family
    params: Mapping[str, Any]
    rounds: int
    seed: int = 0
    threads: int = 1

    def train(self, data: Data, fold: Fold, cache: Cache | None = None) -> tuple[Prediction, FittedModel]:
        """The prediction on the validation rows, and the model; raises Infeasible."""
        fit = start_fit(
            self.family,
            self.params,
            data,
            fold.train,
            fold.valid,
            seed=self.seed,
            threads=self.threads,
            cache=cache,
        )
        fit.advance(self.rounds)
        return fit.predict_valid(), fit.model()


def learner_for(
    problem: Problem,
    family: Family,
    metric: Metric,
    params: Mapping[str, Any] | None = None,
    rounds: int | None = None,
    seed: int = 0,
    threads: int = 1,
    deadline: Callable[[], bool] | None = None,
) -> Learner:
    """The family with these parameters (by default its own) and, unless given, the number of rounds that suits the
    plain columns best.

    That favours the plain columns over anything they are compared with. After `deadline` the rounds trained so far must
    do. Raises Infeasible.
    """
    params = params or family.defaults(problem.data.task)
    if rounds is None:
        units = max(1, min(81, max(_MOST_ROUNDS, family.default_rounds) // family.rounds_per_unit))
        budget = Budget(max_units=units, grace_units=1, patience_rounds=_PATIENCE_ROUNDS)
        trial = Crossfit(
            family, params, problem, metric.score, metric.maximize, budget, seed=seed, threads=threads, cache={}
        )
        rounds = trial.advance(units, deadline).best_rounds
    return Learner(family, params, rounds, seed, threads)


class PlainFits:
    """The current model on the plain columns, cached by the rows it was trained on."""

    def __init__(self, learner: Learner, problem: Problem) -> None:
        self._learner = learner
        self._problem = problem
        self._validated_rows = np.unique(np.concatenate([fold.valid for fold in problem.folds]))
        self._cache: Cache = {}
        self._results: dict[bytes, tuple[Prediction, Vector] | Infeasible] = {}

    def train_on(self, train: Rows) -> tuple[Prediction, Vector]:
        """The prediction on all rows (NaN on training rows and on rows that no fold validates), and the columns'
        importances.

        Raises Infeasible.
        """
        key = np.sort(train).tobytes()
        if key not in self._results:
            try:
                self._results[key] = self._train(train)
            except Infeasible as error:
                self._results[key] = error
        result = self._results[key]
        if isinstance(result, Infeasible):
            raise result
        return result

    def _train(self, train: Rows) -> tuple[Prediction, Vector]:
        data = self._problem.data
        valid = np.setdiff1d(self._validated_rows, train)
        valid_prediction, model = self._learner.train(data, Fold(np.sort(train), valid), self._cache)
        prediction = np.full((len(data), *valid_prediction.shape[1:]), np.nan)
        prediction[valid] = valid_prediction
        return prediction, model.importances()


def inner_folds(problem: Problem, outer: Rows | None) -> tuple[Fold, ...]:
    """The folds within some training rows; without them, all folds as they are.

    Each is a fold of the problem restricted to those rows: for random folds the training rows without two of the folds,
    for folds in time order the earlier ones.
    """
    if outer is None:
        return problem.folds
    inside = np.zeros(len(problem.data), dtype=bool)
    inside[outer] = True
    cut = (Fold(fold.train[inside[fold.train]], fold.valid[inside[fold.valid]]) for fold in problem.folds)
    return tuple(fold for fold in cut if len(fold.train) and len(fold.valid))
