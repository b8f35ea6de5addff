"""Ray monitors: model monitors on a Ray cluster, each in a detached actor `monitor:MODEL` of namespace `optagent`."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

from optagent.adapters.cluster.model_monitor import ModelMonitor, Recipe
from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.domain.monitoring import MonitorState
from optagent.errors import InvalidRequest, Unavailable

_NAMESPACE = "optagent"
_PREFIX = "monitor:"
_START_S = 60.0  # a worker process and its imports, on a busy machine
_ANSWER_S = 5.0
_END_S = 15.0
_POLL_S = 0.05


class MonitorActor:
    """The actor around a monitor. Ray restarts it with the same arguments after its process died."""

    async def __init__(self, model_id: str, shard: int, recipe: Recipe, check_every_s: float) -> None:  # type: ignore[misc]
        self._monitor = ModelMonitor(model_id, shard, recipe, check_every_s)
        self._running = asyncio.create_task(self._monitor.run())

    async def state(self) -> MonitorState:
        return self._monitor.state()

    async def close(self) -> None:
        """Stops the monitor, and returns once its current step is finished."""
        self._monitor.stop()
        await self._running


class RayMonitors:
    """Starts, stops and lists the monitors of a cluster. Blocks; call it from a thread.

    `recipe` makes an agent on the worker: a picklable call without arguments, since nothing live crosses a pickle. An
    actor whose process dies is started again by Ray, and goes on. Detached actors outlive the program that started
    them only where the cluster does: one at an address (OPT_AGENT_RAY_ADDRESS), not one that `cluster` starts itself.
    Raises Unavailable where the cluster does not answer.
    """

    def __init__(self, cluster: RayCluster, recipe: Recipe, *, check_every_s: float = 60.0) -> None:
        self._cluster = cluster
        self._recipe = recipe
        self._check_every_s = check_every_s

    def start(self, model_id: str, shards: int = 1) -> None:
        """Starts `shards` actors that watch a model, and waits for them: all drain, the first one also analyzes.

        Actors that run already go on as they are; those of a higher number are stopped.
        """
        if shards < 1:
            raise InvalidRequest(f"shards must be at least 1, got {shards!r}")
        with self._connect():
            actors = [self._start_actor(model_id, shard) for shard in range(shards)]
            _end(model_id, from_shard=shards)
            _wait_for_answers(actors)

    def stop(self, model_id: str) -> None:
        """Ends all actors of a model; rows that they have not archived yet stay in the queue."""
        with self._connect():
            _end(model_id)

    def running(self) -> list[MonitorState]:
        """The actors of all models, by model and shard; one that Ray is starting again is not `alive`."""
        with self._connect():
            import ray

            actors = {name: _find_actor(name) for name in _list_names()}
            answers = {name: actor.state.remote() for name, actor in actors.items() if actor is not None}
            if answers:
                ray.wait(list(answers.values()), num_returns=len(answers), timeout=_ANSWER_S)
            states = [_read_state(ref) or MonitorState(*_model_and_shard(name)) for name, ref in answers.items()]
        return sorted(states, key=lambda state: (state.model_id, state.shard))

    def close(self) -> None:
        """Leaves the cluster; a cluster that was started here ends, with its monitors."""
        self._cluster.close()

    def _start_actor(self, model_id: str, shard: int) -> Any:
        import ray

        options = {
            "name": _actor_name(model_id, shard),
            "namespace": _NAMESPACE,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": -1,
            # It waits most of the time: with a core reserved for each model, none would be left for trials.
            "num_cpus": 0,
        }
        actor = ray.remote(MonitorActor).options(**options)
        return actor.remote(model_id, shard, self._recipe, self._check_every_s)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[None]:
        self._cluster.connect()
        import ray

        try:
            yield
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise Unavailable(f"the Ray cluster does not run monitors: {error}") from error


def _actor_name(model_id: str, shard: int) -> str:
    return f"{_PREFIX}{model_id}" + (f":{shard}" if shard else "")


def _model_and_shard(name: str) -> tuple[str, int]:
    """The parts of an actor's name; the id of a model has no colon."""
    model_id, _, shard = name.removeprefix(_PREFIX).partition(":")
    return model_id, int(shard or 0)


def _list_names() -> list[str]:
    import ray

    actors = ray.util.list_named_actors(all_namespaces=True)
    return [item["name"] for item in actors if item["namespace"] == _NAMESPACE and item["name"].startswith(_PREFIX)]


def _find_actor(name: str) -> Any | None:
    import ray

    try:
        return ray.get_actor(name, namespace=_NAMESPACE)
    except ValueError:  # ended since it was listed
        return None


def _read_state(ref: Any) -> MonitorState | None:
    import ray

    with contextlib.suppress(ray.exceptions.RayError):
        state: MonitorState = ray.get(ref, timeout=0)
        return state
    return None


def _end(model_id: str, from_shard: int = 0) -> None:
    """Asks the actors of a model to finish, then ends their processes; returns once their names are free."""
    import ray

    for name in _list_names():
        owner, shard = _model_and_shard(name)
        actor = _find_actor(name) if owner == model_id and shard >= from_shard else None
        if actor is not None:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(actor.close.remote(), timeout=_ANSWER_S)
            ray.kill(actor, no_restart=True)
            _wait_for_end(name)


def _wait_for_answers(actors: list[Any]) -> None:
    """Waits until all actors answer, with new calls: an actor that Ray has restarted refuses earlier calls."""
    import ray

    give_up = time.monotonic() + _START_S
    while True:
        try:
            ray.get([actor.state.remote() for actor in actors], timeout=_START_S)
            return
        except ray.exceptions.ActorUnavailableError:
            if time.monotonic() > give_up:
                raise


def _wait_for_end(name: str) -> None:
    give_up = time.monotonic() + _END_S
    while _find_actor(name) is not None:
        if time.monotonic() > give_up:
            raise Unavailable(f"{name} does not end within {_END_S:g} s")
        time.sleep(_POLL_S)
