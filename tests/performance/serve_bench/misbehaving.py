"""Candidates that raise, hang, answer NaN or crash, in shadow and on half of the requests: who answers, how it ends."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from optagent.domain.rollout_look import RolloutState
from tests.performance.serve_bench.load import Load
from tests.performance.serve_bench.shadowing import FOREVER
from tests.performance.serve_bench.system import UNDECIDED, System
from tests.performance.serve_bench.tables import Figure, none, say, show_figures

FAULTS = ("raises", "hangs", "is NaN", "segfaults")
POLICIES: dict[str, dict[str, Any]] = {
    "in shadow": {**FOREVER, "ramp": [0.5]},
    "on half of the requests": {**FOREVER, "ramp": [0.5], "shadow": False},
}
PATIENCE_S = 90.0
SETTLE_S = 0.5
"""What is under way when the fault begins may still have the candidate's answer."""


def measure(system: System, rate: float) -> None:
    version = system.faulty_version()
    for place, policy in POLICIES.items():
        figures = [figure for fault in FAULTS for figure in _misbehaving(system, version, fault, policy, rate)]
        show_figures(f"A candidate {place} that misbehaves under {rate:g} requests/s", figures)


def _misbehaving(system: System, version: str, fault: str, policy: dict[str, Any], rate: float) -> Iterator[Figure]:
    say(f"a candidate that {fault}")
    with system.rolling_out(version, policy), Load(system.target(), PATIENCE_S + 10, rate, connections=64) as load:
        time.sleep(2.0)
        system.fault.write_text(fault)
        began = time.time()
        try:
            ended = _end(system)
        finally:
            took = time.time() - began
            system.fault.unlink()
        time.sleep(1.0)
        load.stop()
        answers = load.answers()
    reason = ended["transitions"][-1]["reason"].replace("|", "/")
    state = ended["state"]
    yield Figure(
        f"{fault}: {state} after {took:.1f} s", reason, "rolled back, and why", state == RolloutState.ROLLED_BACK
    )
    yield none(f"{fault}: failed", answers.failed, answers.told_failures())
    after = answers.where(answers.good & (answers.sent > began + SETTLE_S))
    yield none(f"{fault}: not answered by the champion", int(np.count_nonzero(after.version != system.champion)))
    yield Figure(f"{fault}: slowest answer", f"{answers.ms.max():.0f} ms")


def _end(system: System) -> Any:
    """The rollout when it has ended, or when patience has."""
    until = time.monotonic() + PATIENCE_S
    while True:
        rollout = system.rollout()
        if rollout["state"] not in UNDECIDED or time.monotonic() > until:
            return rollout
        time.sleep(0.2)
