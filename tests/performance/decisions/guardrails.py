"""Guardrails of a rollout: false rollbacks where the limit is kept, and requests until harm is found."""

import numpy as np

from optagent.sequential.guardrail_test import guardrail
from tests.performance.decisions.case import Case
from tests.simulation.streams import Series, bursts

ALPHA, EVERY_S, REQUESTS, LOOK = 0.0025, 2.0, 20_000, 500
"""The risk that the default policy gives to one guardrail; requests come two seconds apart."""


def false_alarms(runs: int, limit: float, rate: float, length: float) -> float:
    """The share of runs that alarm although the rate keeps the limit; bad requests come in pauses of that length."""
    return float(np.mean([_alarms(_flags(seed, REQUESTS, rate, length), limit) for seed in range(runs)]))


def requests_to_alarm(runs: int, limit: float, rate: float, length: float) -> float:
    """The median number of requests until a rate above the limit is found."""
    return float(np.median([_requests_to_alarm(_flags(seed, 6_000, rate, length), limit) for seed in range(runs)]))


def _flags(seed: int, rows: int, rate: float, length: float) -> Series:
    rng = np.random.default_rng([seed, round(1e4 * rate), round(length)])
    return (rng.random(rows) < rate if length == 1 else bursts(rng, rows, rate, length)).astype(np.float64)


def _alarms(flags: Series, limit: float) -> bool:
    return np.isfinite(_requests_to_alarm(flags, limit, LOOK))


def _requests_to_alarm(flags: Series, limit: float, every: int = 50) -> float:
    """The requests at the first look that ends the rollout, by the rule of `domain.rollout`; infinite for none."""
    state, times = guardrail(limit), np.arange(len(flags)) * EVERY_S
    for row in range(0, len(flags), every):
        state = state.after(flags[row : row + every], times[row : row + every])
        if state.e_value >= 1 / ALPHA and state.rate is not None and state.rate > limit:
            return float(row + every)
    return float("inf")


_FALSE = [
    (0.05, 0.05, 1, ".005"),
    (0.05, 0.05, 3, "1.00"),
    (0.05, 0.05, 10, "1.00"),
    (0.05, 0.05, 30, "1.00"),
    (0.05, 0.01, 30, ".97"),
    (0.01, 0.01, 30, ""),
    (0.01, 0.002, 30, ".47"),
]

CASES = [
    *(
        Case(
            f"guardrail-false-{limit:g}-{rate:g}-bursts-{length}",
            "guardrail",
            f"bursts of {length}, rate {rate:g}",
            f"false rollbacks, limit {limit:g}",
            "<= .01",
            150,
            lambda runs, limit=limit, rate=rate, length=length: false_alarms(runs, limit, rate, length),
            before,
        )
        for limit, rate, length, before in _FALSE
    ),
    *(
        Case(
            f"guardrail-power-{limit:g}-x{times}",
            "guardrail",
            "independent requests",
            f"median requests to {times} x {limit:g}",
            asked,
            60,
            lambda runs, limit=limit, times=times: requests_to_alarm(runs, limit, times * limit, 1),
            before,
        )
        for limit, times, asked, before in [
            (0.05, 2, "<= 600", "300"),
            (0.05, 5, "", "50"),
            (0.01, 2, "", "1900"),
            (0.01, 5, "", "225"),
        ]
    ),
]
