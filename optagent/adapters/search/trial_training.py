"""Trial training: one trial after another in this process, from rung to rung; each report is a plain dictionary."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from optagent.arrays import Prediction
from optagent.domain.study import Study
from optagent.errors import Infeasible
from optagent.training.best_predictions import keeps_predictions
from optagent.training.cost import objective_values, other_scores
from optagent.training.crossfit import Crossfit, Measurement
from optagent.training.families.registry import family_named
from optagent.training.metrics import metric_named
from optagent.training.problem import Problem
from optagent.training.validation_blocks import ValidationBlocks

REPORT_EVERY_S = 2.0


class HandedPredictions:
    """Out-of-fold predictions on their way to the searcher, which takes them once: Tune keeps the result of a trial."""

    def __init__(self, predictions: tuple[Prediction, ...]) -> None:
        self._predictions = predictions

    def take(self) -> tuple[Prediction, ...]:
        predictions, self._predictions = self._predictions, ()
        return predictions


class TrialTraining:
    """Trains the trials of a study, and caches what they can share (binned data).

    `spent` is True once a trial has left more memory behind than its study allows.
    """

    def __init__(self, study: Study, problem: Problem) -> None:
        self.spent = False
        self._study = study
        self._problem = problem
        self._score = metric_named(study.metric, study.task).score
        self._blocks = ValidationBlocks(problem, self._score, study.maximize)
        self._other_scores = other_scores(study.objectives, study.task)
        self._keeps_predictions = keeps_predictions(study, problem)
        self._cache: dict[Any, Any] = {}
        self._at_rest_mb = 0.0
        self._at_rest_mb = self._memory_mb()

    def begin(self, family: str, params: Mapping[str, Any]) -> None:
        """Takes the next trial."""
        self._family, self._params = family, params
        self._crossfit: Crossfit | None = None
        self._units = 0

    def step(self, is_interrupted: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """Trains on to the next rung, for `REPORT_EVERY_S`, or until `is_interrupted` answers True between two units.

        An error of the family ends this trial only.
        """
        try:
            return self._advance(is_interrupted)
        except Infeasible as error:
            return self._failure("infeasible", str(error))
        except Exception as error:
            return self._failure("failed", f"{type(error).__name__}: {error}")

    def _advance(self, is_interrupted: Callable[[], bool]) -> dict[str, Any]:
        study = self._study
        if self._crossfit is None:
            self._started_at = time.monotonic()
            self._crossfit = Crossfit(
                family_named(self._family),
                self._params,
                self._problem,
                self._score,
                study.maximize,
                study.budget,
                seed=study.seed,
                threads=max(1, int(study.cpus_per_trial)),
                cache=self._cache,
                others=self._other_scores,
                keeps_predictions=self._keeps_predictions,
            )
        until = time.monotonic() + REPORT_EVERY_S
        rung = next(rung for rung in study.budget.rungs if rung > self._units)
        reached = self._crossfit.advance(
            rung, deadline=lambda: self._within_limits() and (time.monotonic() > until or is_interrupted())
        )
        self._within_limits()
        self._units = reached.units
        finished = reached.finished or reached.units >= study.budget.max_units
        at_rung = reached.units == rung or finished
        return {
            "state": "trained",
            "score": reached.score,
            "values": self._objective_values(reached) if at_rung else (reached.score,),
            "block_gains": self._blocks.gains(self._crossfit.best_predictions) if at_rung else (),
            "units": reached.units,
            "rounds": reached.best_rounds,
            "at_rung": at_rung,
            "finished": finished,
            "seconds": time.monotonic() - self._started_at,
            "predictions": HandedPredictions(self._crossfit.predictions if finished else ()),
            "done": finished,
        }

    def _objective_values(self, reached: Measurement) -> tuple[float, ...]:
        assert self._crossfit is not None
        rows = self._problem.data.x[self._problem.folds[-1].valid]
        return objective_values(self._study.objectives, self._crossfit, reached, rows)

    def _within_limits(self) -> bool:
        """True; raises Infeasible for a trial that takes more time or memory than its study allows."""
        study = self._study
        took = time.monotonic() - self._started_at
        if study.trial_timeout_s is not None and took > study.trial_timeout_s:
            raise Infeasible(f"the trial took more than the {study.trial_timeout_s:g} s that a trial may take")
        if study.trial_memory_mb is not None and self._memory_mb() > study.trial_memory_mb:
            self.spent = True
            raise Infeasible(f"the trial took more than the {study.trial_memory_mb:g} MB that a trial may take")
        return True

    def _memory_mb(self) -> float:
        """The memory (MB) that this process has taken since it began, without the rows that all workers share."""
        used = psutil.Process().memory_info()
        return float(used.rss - getattr(used, "shared", 0)) / 1e6 - self._at_rest_mb

    def _failure(self, state: str, error: str) -> dict[str, Any]:
        # Tune wants a score in every result; ASHA passes over one that is not a number.
        return {
            "state": state,
            "error": error[:2000],
            "score": math.nan,
            "units": self._units,
            "spent": self.spent,
            "done": True,
        }
