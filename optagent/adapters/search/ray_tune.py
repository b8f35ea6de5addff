"""Ray Tune tuner: the `Tuner` port with workers that stay up, one matrix in shared memory, ASHA and our searcher."""

import logging
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from optagent.adapters.cluster.gateway_mark import has_gateway
from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.adapters.search.early_start import is_small, may_start_early
from optagent.adapters.search.search_watch import SearchWatch
from optagent.domain.model import Task
from optagent.domain.study import Progress, SearchOutcome, Study, Trial
from optagent.errors import Cancelled, Unavailable
from optagent.import_lock import IMPORTS
from optagent.training.problem import Problem

if TYPE_CHECKING:
    from optagent.adapters.search.early_trials import EarlyTrials
    from optagent.adapters.search.searcher import StudySearcher
    from optagent.adapters.search.trial_store import TrialStore

_LOADS_WITHIN_S = 15.0  # on a cluster without a free core the workers of others are not waited for
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
        self._starting: Future[float] | None = None

    def check(self) -> None:
        self._cluster.connect()

    def start(self, task: Task, families: Sequence[str]) -> None:
        """Begins to start the cluster, and loads what the first trials need, for as long as they are early ones."""
        from optagent.adapters.search.warm_up import load_families

        if self._starting is None or (self._starting.done() and self._starting.exception()):
            starter = ThreadPoolExecutor(1, thread_name_prefix="tuner-start")
            self._starting = starter.submit(self._start_cluster, task, tuple(families))
            starter.shutdown(wait=False)
        with IMPORTS:  # they take a second: now, while rows are read
            import optagent.adapters.search.trial_store  # noqa: F401

            if not self._starting.done():
                load_families(task, families)

    def _start_cluster(self, task: Task, families: tuple[str, ...]) -> float:
        """The moment at which the cluster was there."""
        self._cluster.connect()
        connected_at = time.monotonic()
        self._load_on_workers(task, families)
        with IMPORTS:
            import optagent.adapters.search.scheduler  # noqa: F401
        return connected_at

    def _connect(self) -> None:
        if self._starting is not None:
            self._starting.result()
        self._cluster.connect()

    def _is_ready(self) -> bool:
        """True once workers have loaded what trials need; raises Unavailable where there is no cluster for them."""
        if self._starting is None:
            return True
        if not self._starting.done():
            return False
        if time.monotonic() - self._starting.result() > _LOADS_WITHIN_S or not self._loading:
            return True
        import ray

        return not ray.wait(self._loading, num_returns=len(self._loading), timeout=0)[1]

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
        if self._starting is not None and not self._starting.done() and is_small(problem):
            return problem  # the first trials read it here, and the workers get it once they are there
        self._connect()
        import ray

        ref = ray.put(problem)
        mine: Problem = ray.get(ref)
        self._shared[id(mine)] = (mine, ref)
        return mine

    def close(self) -> None:
        if self._starting is not None:
            wait([self._starting])
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
        from optagent.adapters.search.early_trials import EarlyTrials
        from optagent.adapters.search.trial_store import TrialStore, open_storage  # Optuna takes a while to load

        store = TrialStore(study, open_storage(self._storage_url))
        early = EarlyTrials(study, store, on_trial)
        watch = SearchWatch(study, early.progress, on_progress, cancelled, is_over)
        self._run_early(study, problem, early, watch)
        trials: EarlyTrials | StudySearcher = early
        if not watch.look() and (early.unfinished is not None or not store.is_exhausted):
            trials = self._search_on_workers(study, problem, early, store, watch, on_trial)
        store.close()
        on_progress(trials.progress())
        if watch.was_cancelled:
            raise Cancelled(f"the search {study.study_id} was cancelled after {len(trials.trials)} trials")
        return SearchOutcome(tuple(trials.trials), watch.timed_out, trials.best_predictions.by_trial)

    def _run_early(self, study: Study, problem: Problem, early: "EarlyTrials", watch: SearchWatch) -> None:
        if not self._is_ready() and may_start_early(study, problem, has_gateway()):
            from optagent.adapters.search.trial_training import TrialTraining

            early.run(TrialTraining(study, problem), self._is_ready, watch.look)

    def _search_on_workers(
        self,
        study: Study,
        problem: Problem,
        early: "EarlyTrials",
        store: "TrialStore",
        watch: SearchWatch,
        on_trial: Callable[[Trial], None],
    ) -> "StudySearcher":
        self._connect()
        import ray

        from optagent.adapters.search.searcher import StudySearcher

        searcher = StudySearcher(study, store, early, on_trial)
        watch.progress = searcher.progress
        folder = tempfile.mkdtemp(prefix="optagent-tune-")
        try:
            self._run(study, problem, searcher, watch, folder)
        except ray.exceptions.RayError as error:
            raise Unavailable(f"the search {study.study_id} was lost with its Ray cluster: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._shared.pop(id(problem), None)
            _forget_workers(study)
        searcher.stop_live("the search was ended first")
        return searcher

    def _run(self, study: Study, problem: Problem, searcher: Any, watch: SearchWatch, folder: str) -> None:
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
