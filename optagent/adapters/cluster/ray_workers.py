"""Ray workers: the `Workers` port on a Ray cluster, with an actor for each core."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from optagent.adapters.cluster.cpu_priority import lower_priority
from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.errors import Cancelled, Unavailable

T = TypeVar("T")
R = TypeVar("R")

_MOST = 16
_LOOK_S = 0.25
_MOST_DEATHS = 3


class _Worker:
    """An actor that holds the shared value, which it gets as a reference in a list."""

    def __init__(self, shared: list[Any]) -> None:
        import ray

        lower_priority()
        self._value = ray.get(shared[0])

    def ready(self) -> None:
        """Does nothing; its answer shows that the process is up."""

    def do(self, work: Callable[[Any, T], R], item: T) -> R:
        lower_priority()
        return work(self._value, item)


class RayWorkers:
    """Makes pools of at most `most` workers, and at most one for each core of the cluster."""

    def __init__(self, cluster: RayCluster, most: int = _MOST) -> None:
        self._cluster = cluster
        self._most = most

    @contextmanager
    def share(self, value: Any) -> Iterator["RayPool"]:
        self._cluster.connect()
        import ray

        cores = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        if cores < 1:
            raise Unavailable("a worker needs a core; the whole Ray cluster has none")
        actor_class, shared = ray.remote(_Worker).options(num_cpus=1), ray.put(value)
        pool = RayPool(lambda: actor_class.remote([shared]), min(cores, self._most))
        try:
            yield pool
        finally:
            pool.close()


class RayPool:
    """Gives each free worker the next item; workers that still wait for a core of the cluster get none.

    A worker whose process dies is replaced, and its item is done again; after a few deaths the work itself counts as
    their cause, and Unavailable is raised.
    """

    def __init__(self, start: Callable[[], Any], size: int) -> None:
        self.size = size
        self._start = start
        self._workers: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._free: list[Any] = []
        self._deaths = 0
        for _ in range(size):
            self._start_worker()

    def map(
        self,
        work: Callable[[Any, T], R],
        items: Sequence[T],
        cancelled: Callable[[], bool] = lambda: False,
        on_done: Callable[[int], None] = lambda done: None,
    ) -> list[R]:
        import ray

        results: list[Any] = [None] * len(items)
        waiting = list(range(len(items)))[::-1]
        running: dict[Any, tuple[int, Any]] = {}
        while waiting or running:
            while self._free and waiting:
                number, worker = waiting.pop(), self._free.pop()
                running[worker.do.remote(work, items[number])] = (number, worker)
            done, _ = ray.wait([*running, *self._starting], timeout=_LOOK_S)
            for ref in done:
                if ref in self._starting:
                    self._collect(ref, self._starting.pop(ref))
                    continue
                number, worker = running.pop(ref)
                answer = self._collect(ref, worker)
                if answer is None:
                    waiting.append(number)
                else:
                    results[number] = answer[0]
                    on_done(len(items) - len(waiting) - len(running))
            if cancelled():
                raise Cancelled("the work was cancelled")
        return results

    def _collect(self, ref: Any, worker: Any) -> tuple[Any] | None:
        """The result of a call, whose worker is free again; None if the worker died, and then another one starts."""
        import ray

        try:
            answer = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayActorError as error:
            self._replace(worker, error)
            return None
        except ray.exceptions.RayError as error:
            raise Unavailable(f"the work was lost with its Ray workers: {error}") from error
        self._free.append(worker)
        return (answer,)

    def close(self) -> None:
        import ray

        for worker in self._workers:
            ray.kill(worker)

    def _start_worker(self) -> None:
        worker = self._start()
        self._workers.append(worker)
        self._starting[worker.ready.remote()] = worker

    def _replace(self, worker: Any, error: Exception) -> None:
        self._workers.remove(worker)
        self._deaths += 1
        if self._deaths > _MOST_DEATHS:
            raise Unavailable(f"{self._deaths} workers died of the work, the last one: {error}") from error
        self._start_worker()
