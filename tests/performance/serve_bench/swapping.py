"""One version for another under load, on all replicas at one moment: by promotion, and back by a rollback."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.performance.serve_bench.load import Answers, Load
from tests.performance.serve_bench.shadowing import SHADOW
from tests.performance.serve_bench.system import System
from tests.performance.serve_bench.tables import Figure, at_most, none, show_figures


@dataclass(frozen=True)
class Swap:
    """`asked` is when it was asked for, `active` the moment from which requests are answered by the new table."""

    old: str
    new: str
    asked: float
    active: float


def measure(system: System, rounds: int, rate: float) -> None:
    swaps: dict[str, list[Swap]] = {"promote": [], "rollback": []}
    answers: list[Answers] = []
    for _ in range(rounds):
        system.start_rollout(system.candidate, SHADOW)
        with Load(system.target(), 60.0, rate) as load:
            for verb, old, new in _steps(system):
                time.sleep(2.0)
                asked = time.time()
                system.act(verb)
                swaps[verb].append(Swap(old, new, asked, system.table().activate_at or 0.0))
            time.sleep(2.0)
            load.stop()
            answers.append(load.answers())
        system.wait(lambda: system.table().versions == (system.champion,), 60.0, "a table of the champion alone")
    title = f"2 replicas, {rate:g} requests/s, {rounds} swaps"
    for verb, done in swaps.items():
        show_figures(f"Swap by {verb}: {title}", list(_figures(system, done, answers)))
    shares = {system.champion: system.made.champion[0], system.candidate: system.made.candidate[0]}
    wrong = sum(_other_value(run, shares) for run in answers)
    all_of_them = sum(len(run) for run in answers)
    show_figures(
        f"All answers under swaps: {title} each way",
        [
            Figure("requests", f"{all_of_them:,}"),
            none(
                "failed",
                sum(run.failed for run in answers),
                "; ".join(filter(None, map(Answers.told_failures, answers))),
            ),
            none("whose probability is not that of the version they name", wrong),
        ],
    )


def _steps(system: System) -> list[tuple[str, str, str]]:
    there, back = system.candidate, system.champion
    return [("promote", back, there), ("rollback", there, back)]


def _figures(system: System, swaps: list[Swap], answers: list[Answers]) -> Iterator[Figure]:
    first, since, early, late = [], [], 0, 0
    for swap, run in zip(swaps, answers, strict=True):
        near = run.where(run.good & (run.done > swap.asked - 1.5) & (run.sent < swap.active_table + 1.5))
        new = near.version == swap.new
        came = near.done[new & (near.done > swap.asked)]
        first.append(1e3 * (came.min() - swap.asked) if len(came) else float("nan"))
        since.append(1e3 * (came.min() - swap.active_table) if len(came) else float("nan"))
        early += int(np.count_nonzero(new & (near.done < swap.active_table)))
        late += int(np.count_nonzero(~new & (near.sent > swap.active_table)))
    told = f"median {np.median(first):.0f}"
    yield at_most("first new answer after the call, the slowest", max(first), 100, "ms", told)
    yield Figure("first new answer after the activation time", f"{max(since):.1f} ms (median {np.median(since):.1f})")
    yield none("answered by the new version before the activation time", early)
    yield none("that arrived after the activation time, and were answered by the old version", late)


def _other_value(run: Answers, shares: dict[str, float]) -> int:
    """Answers that name one version and hold another's probability, or that name none that there is."""
    good = run.where(run.good)
    expected = np.array([shares.get(version, np.nan) for version in good.version.tolist()])
    return int(np.count_nonzero(~(np.abs(good.value - expected) < 1e-6)))
