"""Ray launcher: runs queued processes on a Ray cluster, each in a detached actor `process:ID`."""

import asyncio
import os
from typing import Any

from optagent.adapters.cluster.process_runner import Recipe, run_process_of
from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.errors import Unavailable

_NAMESPACE = "optagent"
_NICENESS = 10  # a search keeps its driver busy too, beside a serving system; its heartbeat has to come through


class RunnerActor:
    """The actor around the work of one process, which ends with that work."""

    async def __init__(self, process_id: str, recipe: Recipe) -> None:  # type: ignore[misc]
        os.nice(_NICENESS)
        self._running = asyncio.create_task(self._run(process_id, recipe))

    async def _run(self, process_id: str, recipe: Recipe) -> None:
        import ray

        try:
            await run_process_of(process_id, recipe)
        finally:
            # exit_actor works only within a call of the actor, and this is a task outside of any.
            ray.kill(ray.get_runtime_context().current_actor)


class RayLauncher:
    """Starts runners on a cluster. Blocks; call it from a thread.

    `recipe` makes an agent on the worker: a picklable call without arguments, since nothing live crosses a pickle. A
    runner outlives the program that launched it. Ray does not restart a runner whose process dies: its lease runs out,
    and a durable process is launched anew from the queue.
    """

    def __init__(self, cluster: RayCluster, recipe: Recipe) -> None:
        self._cluster = cluster
        self._recipe = recipe

    def launch(self, process_id: str) -> None:
        self._cluster.connect()
        import ray

        options: dict[str, Any] = {
            "name": f"process:{process_id}",
            "namespace": _NAMESPACE,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": 0,
            "num_cpus": 0,  # it waits most of the time: the trials of its search take the cores
        }
        try:
            ray.remote(RunnerActor).options(**options).remote(process_id, self._recipe)
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise Unavailable(f"the Ray cluster does not start runners: {error}") from error

    def close(self) -> None:
        """Leaves the cluster; a cluster that was started here ends, with its runners."""
        self._cluster.close()
