"""SIGKILL under load: of a replica, of what controls them, of the proxy before them."""

import os
import signal
import time
from collections.abc import Iterator

from tests.performance.serve_bench.load import Answers, Load
from tests.performance.serve_bench.system import System
from tests.performance.serve_bench.tables import Figure, none, say, show_figures

REPLICA = "ray::ServeReplica:optagent:Gateway"
VICTIMS = {
    "a replica": REPLICA,
    "the Serve controller": "ray::ServeController",
    "the process of the API": "ray::ServeReplica:optagent:Control",
    "the supervisor": "ray::ServeReplica:optagent:Supervisor",
    "HAProxy": "haproxy",
}
ALONE_S = 3.0
"""Before the kill, and after another is up, which may be when requests are lost."""

BACK_S = 120.0
MOST_OUT_S = 10.0


def measure(system: System, seconds: float, rate: float) -> None:
    figures: list[Figure] = []
    for name, title in VICTIMS.items():
        figures += _killed(system, name, title, seconds, rate)
    show_figures(f"SIGKILL under {rate:g} requests/s, 2 replicas; for {seconds:g} s and until another is up", figures)


def _killed(system: System, name: str, title: str, seconds: float, rate: float) -> Iterator[Figure]:
    replicas = len(system.pids(REPLICA))
    say(f"killing {name}")
    with Load(system.target(), seconds + BACK_S, rate, connections=64) as load:
        time.sleep(ALONE_S)
        victims = system.pids(title)
        if not victims:
            yield Figure(name, "there is no such process", "one", False)
            return
        for pid in victims[:1] if title == REPLICA else victims:
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        came = _back(system, title, set(victims), replicas)
        time.sleep(max(ALONE_S, killed + seconds - time.monotonic()))
        load.stop()
        answers = load.answers()
    yield Figure(f"{name}: another is up after", "not at all" if came is None else f"{came - killed:.1f} s")
    if name == "HAProxy":
        yield _outage(name, answers)
    else:
        yield none(f"{name}: failed", answers.failed, answers.told_failures())


def _outage(name: str, answers: Answers) -> Figure:
    told = f"{answers.outage_s:.2f} s ({answers.failed} failed: {answers.told_failures()})"
    return Figure(f"{name}: out for", told, f"less than {MOST_OUT_S:g} s", answers.outage_s < MOST_OUT_S)


def _back(system: System, title: str, before: set[int], replicas: int) -> float | None:
    """When another process stands in the dead one's place; None where patience ends."""
    until = time.monotonic() + BACK_S
    while time.monotonic() < until:
        now = set(system.pids(title))
        if len(now) >= (replicas if title == REPLICA else 1) and now - before:
            return time.monotonic()
        time.sleep(0.1)
    return None
