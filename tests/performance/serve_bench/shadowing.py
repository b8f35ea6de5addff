"""What a candidate costs the champion's requests: in shadow, on split traffic, and while the candidate hangs."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import psutil

from tests.performance.serve_bench.load import Answers, loaded, throughput
from tests.performance.serve_bench.system import System
from tests.performance.serve_bench.tables import Figure, at_most, none, show_figures

FOREVER = {"min_rows": 900_000_000, "horizon_rows": 900_000_000, "ramp_horizon_rows": 900_000_000}
SHADOW = {**FOREVER, "ramp": [0.5], "budget_ms": 1000.0}
HALF = {**SHADOW, "shadow": False}
BUDGET_MS = 100.0
PATIENT = {"guardrails": {"errors": 0.99, "slow": 0.99}, "budget_ms": BUDGET_MS}
"""No guardrail ends the rollout, so that the hanging goes on."""

T = TypeVar("T")


@dataclass(frozen=True)
class Ways:
    """What is entered for each measurement without a candidate, and with one."""

    alone: Callable[[], AbstractContextManager[None]]
    beside: Callable[[], AbstractContextManager[None]]


def measure(system: System, seconds: float, rounds: int, rate: float) -> None:
    ways = Ways(nullcontext, lambda: system.rolling_out(system.candidate, SHADOW))
    title = f"{rate:g} requests/s of one row for {seconds:g} s, {rounds} rounds in turn"
    show_figures(f"Shadow on every request: {title}", list(_shadow(system, ways, seconds, rounds, rate)))
    ways = Ways(nullcontext, lambda: system.rolling_out(system.candidate, HALF))
    show_figures(f"A/B, half of the requests each: {title}", list(_split(system, ways, seconds, rounds, rate)))
    title = f"{rate:g} requests/s of one row for {seconds:g} s, a budget of {BUDGET_MS:g} ms"
    show_figures(f"A candidate that hangs for 10 s: {title}", list(_hanging(system, seconds, rate)))


def in_turn(ways: Ways, rounds: int, measured: Callable[[], T]) -> tuple[list[T], list[T]]:
    """What is measured alone and beside, each round in the other order, so that what drifts hits both alike."""
    found: tuple[list[T], list[T]] = ([], [])
    both = list(zip((ways.alone, ways.beside), found, strict=True))
    for turn in range(rounds):
        for way, taken in both if turn % 2 == 0 else reversed(both):
            with way():
                taken.append(measured())
    return found


def percentiles(runs: list[Answers], percent: float) -> float:
    """Of all runs together."""
    return float(np.percentile(np.concatenate([run.ms[run.good] for run in runs]), percent))


def slower(with_it: list[Answers], without: list[Answers], percent: float) -> tuple[float, str]:
    """By how many per cent a percentile is higher, and the same for each pair of rounds."""
    rounds = [100 * (a.percentile(percent) / b.percentile(percent) - 1) for a, b in zip(with_it, without, strict=True)]
    whole = 100 * (percentiles(with_it, percent) / percentiles(without, percent) - 1)
    return whole, f"by round {min(rounds):+.1f} to {max(rounds):+.1f}"


def _shadow(system: System, ways: Ways, seconds: float, rounds: int, rate: float) -> Iterator[Figure]:
    seen: list[tuple[int, int]] = []
    used: list[float] = []

    def measured() -> Answers:
        psutil.cpu_percent()
        answers = loaded(system.target(), seconds, rate)
        used.append(psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1))
        if system.table().shadow is not None:
            seen.append((_rows_looked_at(system), len(answers)))
        return answers

    alone, shadowed = in_turn(ways, rounds, measured)
    yield Figure("cores in use, of all processes", f"{max(used):.2f} of {psutil.cpu_count()}", "one spare")
    for name, percent in (("p50", 50), ("p99", 99)):
        yield Figure(f"{name} alone", f"{percentiles(alone, percent):.2f} ms")
        more, told = slower(shadowed, alone, percent)
        yield at_most(f"{name} with shadow is higher by", more, 5, "%", told)
    yield none("failed", sum(run.failed for run in (*alone, *shadowed)))
    looked, asked = map(sum, zip(*seen, strict=True))
    yield Figure(
        "rows of evidence looked at, of requests while shadowed",
        f"{looked:,} of {asked:,}",
        "98 % or more",
        looked >= 0.98 * asked,
    )


def _rows_looked_at(system: System, patience_s: float = 10.0) -> int:
    """By the newest look; evidence takes a moment to be written and read."""
    rows, until = -1, time.monotonic() + patience_s
    while time.monotonic() < until:
        looks = system.rollout()["looks"]
        readings = looks[-1]["look"]["guardrails"] if looks else []
        now = max((reading["rows"] for reading in readings), default=0)
        if now == rows and now:
            break
        rows = now
        time.sleep(2.0)
    return rows


def _split(system: System, ways: Ways, seconds: float, rounds: int, rate: float) -> Iterator[Figure]:
    def measured() -> tuple[Answers, float]:
        return loaded(system.target(), seconds, rate), throughput(system.target(), seconds).requests_a_second

    alone, split = in_turn(ways, rounds, measured)
    before, after = ([answers for answers, _ in runs] for runs in (alone, split))
    for name, percent in (("p50", 50), ("p99", 99)):
        yield Figure(f"{name} alone", f"{percentiles(before, percent):.2f} ms")
        more, told = slower(after, before, percent)
        yield Figure(f"{name} with A/B is higher by", f"{more:.3g} % ({told})")
    rates = [float(np.median([speed for _, speed in runs])) for runs in (alone, split)]
    yield Figure("requests/s alone, 16 connections", f"{rates[0]:,.0f}")
    pairs = [100 * (1 - b / a) for (_, a), (_, b) in zip(alone, split, strict=True)]
    told = f"by round {min(pairs):+.1f} to {max(pairs):+.1f}"
    yield at_most("requests/s with A/B are fewer by", 100 * (1 - rates[1] / rates[0]), 3, "%", told)
    yield none("failed", sum(run.failed for run in (*before, *after)))
    candidate = float(np.mean(np.concatenate([run.version for run in after]) == system.candidate))
    yield Figure("answered by the candidate", f"{candidate:.1%}", "50 %", abs(candidate - 0.5) < 0.05)


def _hanging(system: System, seconds: float, rate: float) -> Iterator[Figure]:
    version = system.faulty_version()
    alone = loaded(system.target(), seconds, rate)
    slowest = float(alone.ms.max())
    yield Figure("p99 and slowest, alone", f"{alone.percentile(99):.1f} ms, {slowest:.1f} ms")
    for name, policy, budget in (("in shadow", SHADOW, 0.0), ("on half of the requests", HALF, BUDGET_MS)):
        with system.rolling_out(version, {**policy, **PATIENT}):
            system.fault.write_text("hangs")
            try:
                found = loaded(system.target(), seconds, rate, connections=64)
            finally:
                system.fault.unlink()
        yield Figure(f"p99 {name}", f"{found.percentile(99):.1f} ms")
        told = "the budget more than the slowest alone" if budget else "as the slowest alone"
        yield at_most(f"slowest {name}", float(found.ms.max()), budget + 1.05 * slowest, "ms", told)
        yield none(f"failed {name}", found.failed, found.told_failures())
        others = int(np.count_nonzero(found.version[found.good] != system.champion))
        yield none(f"answered by the candidate {name}", others)
