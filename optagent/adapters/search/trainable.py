"""Tune trainable: trains one trial after another on a worker, on a matrix that all workers share."""

import time
from typing import Any

import ray
from ray import tune
from ray._private.worker import global_worker
from ray.experimental import internal_kv

from optagent.adapters.cluster.cpu_priority import lower_priority
from optagent.adapters.search.trial_training import TrialTraining
from optagent.domain.study import Study
from optagent.training.problem import Problem

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


class TrainingTrial(tune.Trainable):
    """Trains one trial from rung to rung.

    The actor stays from trial to trial and caches what trials can share (binned data). Its first trial waits until all
    workers are up: Tune would otherwise hand the next trial to the first worker that is free, and cancel the worker
    that is still starting, until only one is left.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._study: Study
        self._study, problem, workers = ray.get(config["shared"].ref)
        self._training = TrialTraining(self._study, ray.get(problem))
        lower_priority(self._study.niceness)
        self._wait_for(workers)
        self._training.begin(config["family"], config["params"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial; a worker whose last one left memory behind refuses, and Tune starts another.

        (It raises, since Tune does not tell its searcher of a trial whose worker answers False.)
        """
        if self._training.spent:
            raise MemoryError("the last trial left memory behind")
        self._training.begin(new_config["family"], new_config["params"])
        return True

    def step(self) -> dict[str, Any]:
        """Trains on to the next rung, or for two seconds; an error of the family ends this trial only."""
        lower_priority(self._study.niceness)
        return self._training.step()

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
