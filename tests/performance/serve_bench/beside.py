"""What a search of Ray Tune on the same machine costs the champion's requests."""

import time

import psutil

from tests.performance.serve_bench.load import Answers, loaded
from tests.performance.serve_bench.shadowing import percentiles, slower
from tests.performance.serve_bench.system import System
from tests.performance.serve_bench.tables import Figure, at_most, none, show_figures

TRIALS = 10_000
START_S = 300.0


def measure(system: System, seconds: float, rounds: int, rate: float) -> None:
    alone, beside = [], []
    nice: set[int] = set()
    tried = 0
    for _ in range(rounds):
        alone.append(loaded(system.target(), seconds, rate))
        found, seen, trials = _beside_a_search(system, seconds, rate)
        beside.append(found)
        nice |= seen
        tried += trials
    figures = [
        Figure("trials meanwhile", f"{tried:,}", "some", tried > 0),
        Figure("nice values of Ray's busy workers", ", ".join(map(str, sorted(nice)))),
    ]
    for name, percent in (("p50", 50), ("p99", 99)):
        figures.append(Figure(f"{name} alone", f"{percentiles(alone, percent):.2f} ms"))
        more, told = slower(beside, alone, percent)
        if percent == 99:
            figures.append(at_most(f"{name} beside a search is higher by", more, 30, "%", told))
        else:
            figures.append(Figure(f"{name} beside a search is higher by", f"{more:.3g} % ({told})"))
    figures.append(none("failed", sum(run.failed for run in (*alone, *beside))))
    show_figures(f"A search beside: {rate:g} requests/s of one row for {seconds:g} s, {rounds} rounds in turn", figures)


def _beside_a_search(system: System, seconds: float, rate: float) -> tuple[Answers, set[int], int]:
    """The answers, the niceness of workers that computed, and how many trials ended meanwhile."""
    process_id = system.start_search(TRIALS)
    try:
        system.wait(lambda: _trials(system, process_id) >= 2, START_S, "the first trials of a search")
        before = _trials(system, process_id)
        found = loaded(system.target(), seconds, rate)
        nice = {psutil.Process(pid).nice() for pid in system.pids("ray::") if "Serve" not in _title(pid)}
        return found, nice, _trials(system, process_id) - before
    finally:
        system.call("POST", f"/optimization/{process_id}/cancel")
        system.wait(lambda: system.search(process_id)["status"] not in ("queued", "pending", "running"), 120, "its end")
        time.sleep(2.0)


def _trials(system: System, process_id: str) -> int:
    return int(system.search(process_id)["progress"].get("trials_done", 0))


def _title(pid: int) -> str:
    return " ".join(psutil.Process(pid).cmdline())
