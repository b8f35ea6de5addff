"""Ray Tune tuner: the `Tuner` port with workers that stay up, one matrix in shared memory, ASHA and our searcher."""

import logging
import math
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from optagent.adapters.cluster.gateway_mark import has_gateway
from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.adapters.search.cluster_start import ClusterStart
from optagent.adapters.search.early_start import are_trusted, is_small, may_start_early
from optagent.adapters.search.search_watch import SearchWatch
from optagent.domain.model import Task
from optagent.domain.study import Progress, SearchOutcome, Study, Trial
from optagent.errors import Cancelled, Unavailable
from optagent.import_lock import IMPORTS
from optagent.training.problem import Problem

if TYPE_CHECKING:
    from optagent.adapters.search.early_trials import EarlyTrials
    from optagent.adapters.search.searcher import StudySearcher
    from optagent.adapters.search.study_trials import StudyTrials

_REGISTERING = threading.Lock()


class RayTuner:
    """Runs studies on a cluster; `storage_url` is where their trials are kept (None: in memory only)."""

    def __init__(self, cluster: RayCluster, storage_url: str | None = None) -> None:
        self._cluster = cluster
        self._start = ClusterStart(cluster)
        self._storage_url = storage_url
        self._shared: dict[int, tuple[Problem, Any]] = {}

    def check(self) -> None:
        self._cluster.connect()

    def start(self, task: Task, families: Sequence[str]) -> None:
        """Loads what the first trials need, where they may be early ones, before the start of Ray takes the cores.

        Raises Unavailable where nothing listens at the address of the settings.
        """
        self._cluster.check_address()
        are_early = are_trusted(families) and not has_gateway()
        if not are_early:
            self._start.begin(task, families)
        with IMPORTS:
            import optagent.adapters.search.trial_store  # noqa: F401

            if are_early:
                from optagent.adapters.search.warm_up import load_families

                load_families(task, families)
        self._start.begin(task, families)

    def share(self, problem: Problem) -> Problem:
        if self._start.is_under_way and is_small(problem):
            return problem  # the first trials read it here, and the workers get it once they are there
        self._start.connect()
        import ray

        ref = ray.put(problem)
        mine: Problem = ray.get(ref)
        self._shared[id(mine)] = (mine, ref)
        return mine

    def close(self) -> None:
        self._start.close()

    def search(
        self,
        study: Study,
        problem: Problem,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_trial: Callable[[Trial], None] = lambda trial: None,
        cancelled: Callable[[], bool] = lambda: False,
        is_over: Callable[[], bool] = lambda: False,
    ) -> SearchOutcome:
        from optagent.adapters.search.study_trials import StudyTrials
        from optagent.adapters.search.trial_storage import find_storage
        from optagent.adapters.search.trial_store import TrialStore  # Optuna takes a while to load

        store = TrialStore(study, find_storage(self._storage_url))
        trials = StudyTrials(study, store, on_trial)
        watch = SearchWatch(study, trials.progress, on_progress, cancelled, is_over)
        with self._early_trials(trials, problem, watch) as early:
            if self._wait_for_cluster(trials, early, watch):
                self._search_on_workers(trials, problem, early, watch)
            watch.wait_while(lambda: early.is_running)
        store.close()
        on_progress(trials.progress())
        if watch.was_cancelled:
            raise Cancelled(f"the search {study.study_id} was cancelled after {len(trials.ended)} trials")
        return SearchOutcome(tuple(trials.ended), watch.timed_out, trials.best_predictions.by_trial)

    def _early_trials(self, trials: "StudyTrials", problem: Problem, watch: SearchWatch) -> "EarlyTrials":
        """The trials that this process trains itself; none where the cluster is there, or they need workers."""
        from optagent.adapters.search.early_trials import EarlyTrials

        may_start = self._start.is_under_way and may_start_early(trials.study, problem, has_gateway())
        return EarlyTrials(trials, problem if may_start else None, watch.is_over)

    def _wait_for_cluster(self, trials: "StudyTrials", early: "EarlyTrials", watch: SearchWatch) -> bool:
        """True once there is a cluster; False where the search came to its end before.

        Of a study that says how many trials may run at a time, none is in training here once workers begin.
        """
        watch.wait_while(lambda: early.is_running and self._start.is_under_way)
        if trials.study.concurrency is not None:
            early.end_soon()
            watch.wait_while(lambda: early.is_running)
        if watch.look() or trials.is_exhausted:
            return False
        self._start.connect()
        return True

    def _search_on_workers(
        self, trials: "StudyTrials", problem: Problem, early: "EarlyTrials", watch: SearchWatch
    ) -> None:
        import ray

        from optagent.adapters.search.searcher import StudySearcher

        study, searcher = trials.study, StudySearcher(trials, early.end_soon)
        folder = tempfile.mkdtemp(prefix="optagent-tune-")
        try:
            self._run(trials, problem, searcher, watch, folder)
        except ray.exceptions.RayError as error:
            raise Unavailable(f"the search {study.study_id} was lost with its Ray cluster: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._shared.pop(id(problem), None)
            _forget_workers(study)
        searcher.stop_live("the search was ended first")

    def _run(
        self, trials: "StudyTrials", problem: Problem, searcher: "StudySearcher", watch: SearchWatch, folder: str
    ) -> None:
        import ray
        from ray import tune
        from ray.tune.registry import register_trainable

        from optagent.adapters.search.fair_share import FairShare
        from optagent.adapters.search.scheduler import StudyScheduler
        from optagent.adapters.search.searcher import StopWhen
        from optagent.adapters.search.trainable import SharedStudy, TrainingTrial

        study = trials.study
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
                scheduler=StudyScheduler(trials, searcher, watch.look),
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
