"""Tune trainable: trains one trial after another on a worker, on a matrix that all workers share."""

import math
import time
from typing import Any

import psutil
import ray
from ray import tune
from ray._private.worker import global_worker
from ray.experimental import internal_kv

from optagent.adapters.cluster.cpu_priority import lower_priority
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
_HOLD_LIMIT_S = 30.0


class SharedStudy:
    """A reference to what all trials of a study share: the study, its problem, and the number of workers.

    It travels in the configuration of each trial, where Ray counts who still needs the rows.
    """

    def __init__(self, study: Study, problem: "ray.ObjectRef[Problem]", workers: int) -> None:
        self.ref = ray.put((study, problem, workers))

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedStudy":
        """Tune copies configurations; the copy names the same rows."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Tune also pickles configurations into files of its own. A reference that leaves Ray that way pins its object
        for as long as the driver lives (as `tune.with_parameters` does), so there it stays at home."""
        inside_ray = global_worker.get_serialization_context().is_in_band_serialization()  # type: ignore[no-untyped-call]
        return {"ref": self.ref} if inside_ray else {}


class HandedPredictions:
    """Out-of-fold predictions on their way to the searcher, which takes them once: Tune keeps the result of a trial."""

    def __init__(self, predictions: tuple[Prediction, ...]) -> None:
        self._predictions = predictions

    def take(self) -> tuple[Prediction, ...]:
        predictions, self._predictions = self._predictions, ()
        return predictions


class TrainingTrial(tune.Trainable):
    """Trains one trial from rung to rung.

    The actor stays from trial to trial and caches what trials can share (binned data). Its first trial waits until all
    workers are up: Tune would otherwise hand the next trial to the first worker that is free, and cancel the worker
    that is still starting, until only one is left.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._study: Study
        self._problem: Problem
        self._study, problem, workers = ray.get(config["shared"].ref)
        self._problem = ray.get(problem)
        self._score = metric_named(self._study.metric, self._study.task).score
        self._blocks = ValidationBlocks(self._problem, self._score, self._study.maximize)
        self._other_scores = other_scores(self._study.objectives, self._study.task)
        self._keeps_predictions = keeps_predictions(self._study, self._problem)
        self._cache: dict[Any, Any] = {}
        self._spent = False
        self._at_rest_mb = 0.0
        self._at_rest_mb = self._memory_mb()
        lower_priority(self._study.niceness)
        self._wait_for(workers)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial; a worker whose last one left memory behind refuses, and Tune starts another.

        (It raises, since Tune does not tell its searcher of a trial whose worker answers False.)
        """
        if self._spent:
            raise MemoryError("the last trial left memory behind")
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._config = config
        self._crossfit: Crossfit | None = None
        self._units = 0

    def step(self) -> dict[str, Any]:
        """Trains on to the next rung, or for `REPORT_EVERY_S`; an error of the family ends this trial only."""
        lower_priority(self._study.niceness)
        try:
            return self._advance()
        except Infeasible as error:
            return self._failure("infeasible", str(error))
        except Exception as error:
            return self._failure("failed", f"{type(error).__name__}: {error}")

    def _advance(self) -> dict[str, Any]:
        study = self._study
        if self._crossfit is None:
            self._started_at = time.monotonic()
            self._crossfit = Crossfit(
                family_named(self._config["family"]),
                self._config["params"],
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
        reached = self._crossfit.advance(rung, deadline=lambda: self._within_limits() and time.monotonic() > until)
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
            self._spent = True
            raise Infeasible(f"the trial took more than the {study.trial_memory_mb:g} MB that a trial may take")
        return True

    def _memory_mb(self) -> float:
        """The memory (MB) that this worker has taken since it started, without the rows that all workers share."""
        used = psutil.Process().memory_info()
        return float(used.rss - getattr(used, "shared", 0)) / 1e6 - self._at_rest_mb

    def _failure(self, state: str, error: str) -> dict[str, Any]:
        # Tune wants a score in every result; ASHA passes over one that is not a number.
        return {
            "state": state,
            "error": error[:2000],
            "score": math.nan,
            "units": self._units,
            "spent": self._spent,
            "done": True,
        }

    def _wait_for(self, workers: int) -> None:
        prefix = f"optagent:{self._study.study_id}:worker:"
        internal_kv._internal_kv_put(f"{prefix}{ray.get_runtime_context().get_actor_id()}", b"1")
        until = time.monotonic() + _HOLD_LIMIT_S
        while len(internal_kv._internal_kv_list(prefix)) < workers and time.monotonic() < until:
            time.sleep(0.02)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Saves nothing, as the trial store has every measurement."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Loads nothing, as nothing was saved."""
