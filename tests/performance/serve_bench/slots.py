"""A mixture of four slots beside one model: each request is answered by four versions instead of one."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from optagent.adapters.clock import SystemClock
from optagent.adapters.state.embedded.embedded_redis import read_endpoint
from optagent.adapters.state.redis.routes import RedisRoutes
from optagent.domain.mixture import MIXTURE, MixtureWeights
from optagent.domain.model import Task
from optagent.domain.routing import RoutingTable
from optagent.domain.slot import DEFAULT_SLOTS
from optagent.loop.rollout.activate import activate_table
from optagent.mixing.learner import MixtureLearner
from tests.performance.serve_bench.killing import REPLICA
from tests.performance.serve_bench.load import Answers, loaded, throughput
from tests.performance.serve_bench.made import MODEL, Made
from tests.performance.serve_bench.shadowing import Ways, in_turn, percentiles
from tests.performance.serve_bench.system import LOAD_S, System, serving
from tests.performance.serve_bench.tables import Figure, at_least, at_most, none, show_figures
from tests.performance.serve_bench.throughput import WARM_UP_S


class UnsupervisedSystem(System):
    """A system whose tables are set from outside: its supervisor, which would take them back, looks once an hour."""

    def __init__(self, work: Path, replicas: int, made: Made) -> None:
        super().__init__(work, replicas, made)
        self._env["OPT_AGENT_SUPERVISE_EVERY_SECONDS"] = "3600"

    def route(self) -> None:
        self.activate(RoutingTable(MODEL, 1, self.champion))

    def activate(self, table: RoutingTable) -> None:
        asyncio.run(self._activate_table(table))

    async def _activate_table(self, table: RoutingTable) -> None:
        endpoint = read_endpoint(self.home / "redis")
        if endpoint is None:
            raise RuntimeError("there is no embedded Redis server")
        routes = RedisRoutes(endpoint.url)
        try:
            await activate_table(table, routes, SystemClock(), patience_s=LOAD_S)
        finally:
            await routes.close()


def measure(made: Made, seconds: float, rounds: int, rate: float) -> None:
    title = f"{rate:g} requests/s of one row for {seconds:g} s, {rounds} rounds in turn"
    with (
        tempfile.TemporaryDirectory(prefix="optagent-bench-") as folder,
        serving(Path(folder) / "mixture", 1, made, UnsupervisedSystem) as system,
    ):
        assert isinstance(system, UnsupervisedSystem)
        weights = _weights(_import_four_versions(system))
        ways = Ways(nullcontext, lambda: _mixing(system, weights))
        show_figures(f"A mixture of four slots: {title}", list(_figures(system, ways, seconds, rounds, rate)))


def _figures(system: System, ways: Ways, seconds: float, rounds: int, rate: float) -> Iterator[Figure]:
    used: dict[bool, list[float]] = {False: [], True: []}

    def measured() -> tuple[Answers, float]:
        loaded(system.target(), WARM_UP_S, rate)  # graphs are fused right after the table has changed
        answers, before = loaded(system.target(), seconds, rate), _gateway_cpu_s(system)
        speed = throughput(system.target(), seconds).requests_a_second
        is_mixed = system.table().mixture is not None
        used[is_mixed].append((_gateway_cpu_s(system) - before) / (speed * seconds) * 1e6)
        return answers, speed

    alone, mixed = in_turn(ways, rounds, measured)
    before, after = ([answers for answers, _ in runs] for runs in (alone, mixed))
    for name, percent, asked in (("p50", 50, 1.25), ("p99", 99, 1.3)):
        one_model = percentiles(before, percent)
        pairs = [b.percentile(percent) / a.percentile(percent) for a, b in zip(before, after, strict=True)]
        told = f"by round {min(pairs):.2f} to {max(pairs):.2f}"
        yield Figure(f"{name} of one model", f"{one_model:.2f} ms")
        yield at_most(
            f"{name} of a mixture of four slots", percentiles(after, percent) / one_model, asked, "times", told
        )
    rates = [float(np.median([speed for _, speed in runs])) for runs in (alone, mixed)]
    yield Figure("requests/s of one model, 16 connections", f"{rates[0]:,.0f}")
    yield at_least("requests/s of a mixture of four slots, times", rates[1] / rates[0], 0.75)
    cpu_us = [float(np.median(used[is_mixed])) for is_mixed in (False, True)]
    yield Figure("CPU of the gateway a request at 16 connections", f"{cpu_us[0]:.0f} and {cpu_us[1]:.0f} us")
    yield none("failed", sum(run.failed for run in (*before, *after)))
    share = float(np.mean(np.concatenate([run.version[run.good] for run in after]) == MIXTURE))
    yield Figure("answered by the mixture", f"{share:.1%}", "all", share == 1.0)


def _gateway_cpu_s(system: System) -> float:
    """The time that the gateways have computed so far, in seconds: what other processes do changes it little."""
    times = [psutil.Process(pid).cpu_times() for pid in system.pids(REPLICA)]
    return sum(time.user + time.system for time in times)


def _import_four_versions(system: System) -> tuple[str, ...]:
    """The two that are there, and the same two once more: engines of their own, which share nothing."""
    for name in ("champion", "candidate"):
        system.cli("import", str(system.made.folder / name), "--as", MODEL)
    return tuple(str(number) for number in range(1, len(DEFAULT_SLOTS) + 1))


def _weights(versions: tuple[str, ...]) -> MixtureWeights:
    """The weights that a learner begins with."""
    return MixtureLearner(Task.BINARY, DEFAULT_SLOTS).weights(versions)


@contextmanager
def _mixing(system: UnsupervisedSystem, weights: MixtureWeights) -> Iterator[None]:
    """All slots answer; at the end the champion does alone, with all versions still loaded."""
    alone = replace(system.table(), mixture=None, warm=weights.versions)
    system.activate(replace(alone, mixture=weights))
    try:
        yield
    finally:
        system.activate(alone)
