"""The coverage gate: sound candidates that it refuses, and candidates whose intervals miss that it refuses.

A world is the holdout of a candidate: distances of outcomes from their answers in the order of time, 100 rows a day.
"""

from functools import partial

import numpy as np

from optagent.conformal.holdout_coverage import RISK, replay_coverage
from optagent.domain.gate import Gates, Verdict
from optagent.domain.model import Task
from optagent.loop.gates.coverage import judge_replayed
from tests.performance.decisions.case import Case
from tests.performance.decisions.intervals import ROWS_A_DAY, STREAMS
from tests.simulation.streams import DAY_S, request_times

DELAYS = {"once": 0.0, "day": DAY_S, "week": 7 * DAY_S}
SOUND = ("still", "memory", "weeks", "days", "bursts")
"""Streams that stay as they are: what their intervals cover too little of one time, they cover too much of another."""


def refusals(runs: int, name: str, late: str, rows: int, jump: float = 1.0) -> float:
    """The share of candidates that are refused; errors grow by the factor `jump` with the newer half."""
    refused = 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, rows, sorted(STREAMS).index(name)])
        times = request_times(rows, ROWS_A_DAY)
        scores = STREAMS[name](rng, times)
        scores[rows // 2 :] *= jump
        coverage = replay_coverage(Task.REGRESSION, scores, times, DELAYS[late])
        refused += judge_replayed(Gates(), coverage, is_at_least=False).verdict is not Verdict.PASS
    return refused / runs


def _case(name: str, late: str, rows: int, jump: float = 1.0, asked: str = "") -> Case:
    words = {"once": "at once", "day": "a day late", "week": "a week late"}[late]
    stream = f"{name}, labels {words}" if jump == 1 else f"errors {jump:g} times, labels {words}"
    figure = f"refused, {rows:,} rows"
    measure = partial(refusals, name=name, late=late, rows=rows, jump=jump)
    suffix = "" if jump == 1 else f"-{jump:g}"
    return Case(f"coverage-{name}-{late}-{rows}{suffix}", "coverage gate", stream, figure, asked, 400, measure)


CASES = [
    *(
        _case(name, late, rows, asked=f"<= {RISK}" if late == "once" else "")
        for name in SOUND
        for late in DELAYS
        for rows in (200, 400, 2_000)
    ),
    *(_case("still", late, rows, jump) for jump in (0.5, 1.5, 2.0, 3.0) for late in DELAYS for rows in (400, 2_000)),
]
