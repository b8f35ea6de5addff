"""Ray Tune tuner: the `Tuner` port with workers that stay up, one matrix in shared memory, ASHA and our searcher."""

import logging
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.domain.model import Task
from optagent.domain.study import Progress, SearchOutcome, Study, Trial
from optagent.errors import Cancelled, Unavailable
from optagent.import_lock import IMPORTS
from optagent.training.problem import Problem

_PROGRESS_EVERY_S = 0.25
_MOST_WARM = 16
_REGISTERING = threading.Lock()


class RayTuner:
    """Runs studies on a cluster; `storage_url` is where their trials are kept (None: in memory only)."""

    def __init__(self, cluster: RayCluster, storage_url: str | None = None) -> None:
        self._cluster = cluster
        self._storage_url = storage_url
        self._shared: dict[int, tuple[Problem, Any]] = {}
        self._is_warm = False
        self._loading: list[Any] = []

    def check(self) -> None:
        self._cluster.connect()

    def start(self, task: Task, families: Sequence[str]) -> None:
        self._cluster.connect()
        self._load_on_workers(task, tuple(families))
        with IMPORTS:  # they take a second: now, while rows are read
            import optagent.adapters.search.scheduler
            import optagent.adapters.search.trial_store  # noqa: F401

    def _load_on_workers(self, task: Task, families: tuple[str, ...]) -> None:
        """Sends each core of the cluster a task whose worker, with all that it has loaded, a trial takes over."""
        if not self._is_warm:
            import ray

            from optagent.adapters.search.warm_up import load_trial_libraries

            self._is_warm = True
            load = ray.remote(load_trial_libraries)
            cores = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
            self._loading = [load.remote(task, families) for _ in range(min(cores, _MOST_WARM))]

    def share(self, problem: Problem) -> Problem:
        self._cluster.connect()
        import ray

        ref = ray.put(problem)
        mine: Problem = ray.get(ref)
        self._shared[id(mine)] = (mine, ref)
        return mine

    def close(self) -> None:
        self._cluster.close()

    def search(
        self,
        study: Study,
        problem: Problem,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_trial: Callable[[Trial], None] = lambda trial: None,
        cancelled: Callable[[], bool] = lambda: False,
        is_over: Callable[[], bool] = lambda: False,
    ) -> SearchOutcome:
        from optagent.adapters.search.trial_store import TrialStore, open_storage  # Optuna takes a while to load

        store = TrialStore(study, open_storage(self._storage_url))
        self._cluster.connect()
        import ray

        from optagent.adapters.search.searcher import StudySearcher

        searcher = StudySearcher(study, store, on_trial)
        watch = _Watch(study, searcher, on_progress, cancelled, is_over)
        folder = tempfile.mkdtemp(prefix="optagent-tune-")
        try:
            if not store.is_exhausted:
                self._run(study, problem, searcher, watch, folder)
        except ray.exceptions.RayError as error:
            raise Unavailable(f"the search {study.study_id} was lost with its Ray cluster: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._shared.pop(id(problem), None)
            _forget_workers(study)
        searcher.stop_live("the search was ended first")
        store.close()
        on_progress(searcher.progress())
        if watch.was_cancelled:
            raise Cancelled(f"the search {study.study_id} was cancelled after {len(searcher.trials)} trials")
        return SearchOutcome(tuple(searcher.trials), watch.timed_out, searcher.best_predictions.by_trial)

    def _run(self, study: Study, problem: Problem, searcher: Any, watch: "_Watch", folder: str) -> None:
        import ray
        from ray import tune
        from ray.tune.registry import register_trainable

        from optagent.adapters.search.fair_share import FairShare
        from optagent.adapters.search.scheduler import StudyScheduler
        from optagent.adapters.search.searcher import StopWhen
        from optagent.adapters.search.trainable import SharedStudy, TrainingTrial

        workers = _worker_count(study)
        _, ref = self._shared.get(id(problem)) or (None, ray.put(problem))
        # Tune keeps trainables by name, in a registry that is not made for threads; two searches may share a process.
        name = f"Trial_{study.study_id}"
        with _REGISTERING:
            register_trainable(name, type(name, (TrainingTrial,), {}))
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        with FairShare(study.study_id, workers) as share:
            searcher.concurrency_limit = share.trials
            tune.run(
                name,
                name=study.study_id,
                config={"shared": SharedStudy(study, ref, min(share.trials(), study.trials))},
                search_alg=searcher,
                scheduler=StudyScheduler(study, searcher, watch.look),
                num_samples=-1,  # the searcher says when it has finished
                max_concurrent_trials=workers,
                resources_per_trial={"cpu": study.cpus_per_trial, "gpu": study.gpus_per_trial},
                reuse_actors=True,
                raise_on_failed_trial=False,
                storage_path=folder,
                stop=StopWhen(watch.look),
                verbose=0,
                progress_reporter=_silent_reporter(),
                trial_dirname_creator=lambda trial: trial.trial_id,
            )


def _silent_reporter() -> Any:
    """A reporter of Tune that never reports: its own clears the cell of a notebook, whatever the verbosity."""
    from ray.tune.progress_reporter import ProgressReporter

    class SilentReporter(ProgressReporter):
        def should_report(self, trials: Any, done: bool = False) -> bool:
            return False

    return SilentReporter()


class _Watch:
    """Looks at the clock and at the cancel flag between Tune's steps, and reports progress."""

    def __init__(
        self,
        study: Study,
        searcher: Any,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        is_over: Callable[[], bool],
    ) -> None:
        self.timed_out = False
        self.was_cancelled = False
        self._searcher = searcher
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._is_over = is_over
        self._until = time.monotonic() + study.timeout_s
        self._next = 0.0

    def look(self) -> bool:
        """True when the search has to stop."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_EVERY_S
            self._on_progress(self._searcher.progress())
            self.was_cancelled = self._cancelled()
        self.timed_out = now >= self._until or self._is_over()
        return self.timed_out or self.was_cancelled


def _worker_count(study: Study) -> int:
    """The number of trials that run at a time; Unavailable where the cluster cannot hold one."""
    import ray

    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    wants = {"CPU": study.cpus_per_trial, "GPU": study.gpus_per_trial}
    fitting = min(math.floor(has.get(name, 0.0) / share) for name, share in wants.items() if share)
    if fitting < 1:
        asked = ", ".join(f"{share:g} {name}" for name, share in wants.items() if share)
        offers = ", ".join(f"{has.get(name, 0.0):g} {name}" for name in wants)
        raise Unavailable(f"a trial needs {asked}; the whole Ray cluster has {offers}")
    return min(fitting, study.concurrency or fitting)


def _forget_workers(study: Study) -> None:
    import ray
    from ray.experimental import internal_kv

    if ray.is_initialized():
        for key in internal_kv._internal_kv_list(f"optagent:{study.study_id}:worker:"):
            internal_kv._internal_kv_del(key)
