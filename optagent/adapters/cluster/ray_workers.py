"""The `Workers` port on a Ray cluster: an actor a core, which reads the shared value where Ray keeps it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from optagent.adapters.cluster.background import give_way
from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.errors import Cancelled, Unavailable

T = TypeVar("T")
R = TypeVar("R")

_MOST = 16
_LOOK_S = 0.25
_RESTARTS = 2


class _Worker:
    """Holds the shared value; Ray makes it anew, with the same value, after its process died."""

    def __init__(self, value: Any) -> None:
        give_way()
        self._value = value

    def ready(self) -> None:
        """Answers once the process is up."""

    def do(self, work: Callable[[Any, T], R], item: T) -> R:
        return work(self._value, item)


class RayWorkers:
    """Crews of at most `most` workers, as many as the cluster has cores for."""

    def __init__(self, cluster: RayCluster, most: int = _MOST) -> None:
        self._cluster = cluster
        self._most = most

    @contextmanager
    def share(self, value: Any) -> Iterator["RayCrew"]:
        self._cluster.connect()
        import ray

        cores = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        if cores < 1:
            raise Unavailable("a worker needs a core; the whole Ray cluster has none")
        made = ray.remote(_Worker).options(num_cpus=1, max_restarts=_RESTARTS, max_task_retries=_RESTARTS)
        shared = ray.put(value)
        workers: list[Any] = [made.remote(shared) for _ in range(min(cores, self._most))]
        try:
            yield RayCrew(workers)
        finally:
            for worker in workers:
                ray.kill(worker)


class RayCrew:
    """A worker takes the next item when it is free, one that waits for a core of the cluster none."""

    def __init__(self, workers: Sequence[Any]) -> None:
        self._starting = {worker.ready.remote(): worker for worker in workers}
        self._free: list[Any] = []
        self.size = len(workers)

    def map(
        self, work: Callable[[Any, T], R], items: Sequence[T], cancelled: Callable[[], bool] = lambda: False
    ) -> list[R]:
        import ray

        try:
            return self._mapped(work, items, cancelled)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise Unavailable(f"the work was lost with its Ray workers: {error}") from error

    def _mapped(self, work: Callable[[Any, T], R], items: Sequence[T], cancelled: Callable[[], bool]) -> list[R]:
        import ray

        found: list[Any] = [None] * len(items)
        waiting = list(enumerate(items))[::-1]
        running: dict[Any, tuple[int, Any]] = {}
        while waiting or running:
            while self._free and waiting:
                number, item = waiting.pop()
                worker = self._free.pop()
                running[worker.do.remote(work, item)] = (number, worker)
            done, _ = ray.wait([*running, *self._starting], timeout=_LOOK_S)
            for ref in done:
                answer = ray.get(ref)
                if ref in running:
                    number, worker = running.pop(ref)
                    found[number] = answer
                else:
                    worker = self._starting.pop(ref)
                self._free.append(worker)
            if cancelled():
                raise Cancelled("the work was cancelled")
        return found
