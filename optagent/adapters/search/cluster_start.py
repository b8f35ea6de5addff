"""Cluster start: a Ray cluster that comes up in a thread, whose workers then load what trials need."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.domain.model import Task
from optagent.import_lock import IMPORTS

_MOST_WARM = 16


class ClusterStart:
    """Starts a cluster once, and again only where that failed."""

    def __init__(self, cluster: RayCluster) -> None:
        self._cluster = cluster
        self._start: Future[None] | None = None
        self._loading: list[Any] = []

    def begin(self, task: Task, families: Sequence[str]) -> None:
        """Lets the cluster start, and each of its cores load the libraries of these families."""
        if self._start is None or (self._start.done() and self._start.exception() is not None):
            thread = ThreadPoolExecutor(1, thread_name_prefix="cluster-start")
            self._start = thread.submit(self._run, task, tuple(families))
            thread.shutdown(wait=False)

    @property
    def is_under_way(self) -> bool:
        """True from the begin until the cluster is there, or has failed to start."""
        return self._start is not None and not self._start.done()

    def connect(self) -> None:
        """Waits for the cluster, and starts one where nothing has; raises Unavailable."""
        if self._start is not None:
            self._start.result()
        self._cluster.connect()

    def close(self) -> None:
        """Stops the cluster, where this process started it, once its start is over."""
        if self._start is not None:
            wait([self._start])
        self._cluster.close()

    def _run(self, task: Task, families: tuple[str, ...]) -> None:
        self._cluster.connect()
        self._load_on_workers(task, families)
        with IMPORTS:
            import optagent.adapters.search.scheduler  # noqa: F401

    def _load_on_workers(self, task: Task, families: tuple[str, ...]) -> None:
        """Sends each core of the cluster a task whose worker, with all that it has loaded, a trial takes over."""
        import ray

        from optagent.adapters.search.warm_up import load_trial_libraries

        load = ray.remote(load_trial_libraries)
        cores = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        self._loading = [load.remote(task, families) for _ in range(min(cores, _MOST_WARM))]
