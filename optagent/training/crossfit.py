"""Cross-validated training of one trial: all folds advance in lockstep, and the best mean of their scores is kept."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from optagent.arrays import Prediction, Score
from optagent.domain.study import Budget
from optagent.errors import Infeasible, InvalidRequest
from optagent.training.families.family import Cache, Family, Fit, FittedModel
from optagent.training.label_encoding import start_fit
from optagent.training.problem import Problem


@dataclass(frozen=True, slots=True)
class Measurement:
    """The best mean over folds up to `units` of the budget, which is `rounds` of the family's own steps.

    `best_rounds`, `fold_scores` and `others` (the means of further scores) belong to the best score. `finished` means
    that more units change nothing: the budget is spent, or patience ran out at `units`.
    """

    units: int
    rounds: int
    score: float
    best_rounds: int
    fold_scores: tuple[float, ...]
    finished: bool
    others: Mapping[str, float] = field(default_factory=dict)


class Crossfit:
    """Trains one set of parameters on all folds in lockstep.

    Scores are taken at fixed units, whatever units `advance` is called with: after every unit or, for a family that is
    expensive to train on (`score_growth`), each time the units have grown by that share and at the rungs of the budget.
    So advancing rung by rung gives the same scores as advancing at once. With `keeps_predictions`, those of the best
    score may be handed on.
    """

    def __init__(
        self,
        family: Family,
        params: Mapping[str, Any],
        problem: Problem,
        score: Score,
        maximize: bool,
        budget: Budget,
        seed: int = 0,
        threads: int = 1,
        cache: Cache | None = None,
        others: Mapping[str, Score] | None = None,
        keeps_predictions: bool = False,
    ) -> None:
        self._family = family
        self._problem = problem
        self._score = score
        self._others = others or {}
        self._sign = 1.0 if maximize else -1.0
        self._budget = budget
        self._keeps_predictions = keeps_predictions
        self._start = partial(start_fit, family, params, problem.data, seed=seed, threads=threads, cache=cache)
        self._stops = _stops(budget, family.score_growth)
        self._reached = 0
        self._best: Measurement | None = None
        self._best_predictions: tuple[Prediction, ...] = ()
        self._finished = False

    def advance(self, units: int, deadline: Callable[[], bool] | None = None) -> Measurement:
        """Trains on to `units` of the budget, or until patience runs out.

        `deadline` is called after each step; once it is True this returns with the units reached so far, and a later
        call goes on from there. Raises Infeasible.
        """
        if not 1 <= units <= self._budget.max_units:
            raise InvalidRequest(f"units must be between 1 and {self._budget.max_units}, got {units}")
        while self._reached < units and not self._finished:
            self._step(min(units, next(stop for stop in self._stops if stop > self._reached)))
            if deadline is not None and deadline():
                break
        return self._measurement()

    def model(self) -> FittedModel:
        """The model of the last fold, which has learned from the most rows, as it was at its best."""
        assert self._best is not None, "nothing was trained yet"
        return self._fits[-1].model(self._best.best_rounds)

    @property
    def best_predictions(self) -> tuple[Prediction, ...]:
        """The predictions of each fold's validation rows that the best score is of."""
        assert self._best is not None, "nothing was trained yet"
        return self._best_predictions

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """The best predictions in 32 bits, to be handed on; empty unless they are kept."""
        handed = self._best_predictions if self._keeps_predictions else ()
        return tuple(np.array(prediction, dtype=np.float32) for prediction in handed)

    @cached_property
    def _fits(self) -> tuple[Fit, ...]:
        return tuple(self._start(fold.train, fold.valid) for fold in self._problem.folds)

    def _step(self, units: int) -> None:
        rounds = units * self._family.rounds_per_unit
        for fit in self._fits:
            fit.advance(rounds)
        validations = [
            (self._problem.data.y[fold.valid], fit.predict_valid())
            for fold, fit in zip(self._problem.folds, self._fits, strict=True)
        ]
        scores = tuple(float(self._score(y, prediction)) for y, prediction in validations)
        mean = float(np.mean(scores))
        if not math.isfinite(mean):
            raise Infeasible(f"after {rounds} rounds the folds score {list(scores)}, which has no finite mean")
        self._reached = units
        if self._best is None or self._sign * mean > self._sign * self._best.score:
            others = {
                name: float(np.mean([score(*validation) for validation in validations]))
                for name, score in self._others.items()
            }
            self._best_predictions = tuple(prediction for _, prediction in validations)
            self._best = Measurement(units, rounds, mean, rounds, scores, False, others)
        rounds_since_best = rounds - self._best.best_rounds
        self._finished = units == self._budget.max_units or rounds_since_best >= self._budget.patience_rounds

    def _measurement(self) -> Measurement:
        assert self._best is not None, "the first step of an advance scores"
        return Measurement(
            units=self._reached,
            rounds=self._reached * self._family.rounds_per_unit,
            score=self._best.score,
            best_rounds=self._best.best_rounds,
            fold_scores=self._best.fold_scores,
            finished=self._finished,
            others=self._best.others,
        )


def _stops(budget: Budget, growth: float) -> tuple[int, ...]:
    """The units after which a score is taken."""
    stops, unit = set(budget.rungs), 0
    while unit < budget.max_units and math.isfinite(growth):
        unit += max(1, math.floor(unit * growth))
        stops.add(min(unit, budget.max_units))
    return tuple(sorted(stops))
