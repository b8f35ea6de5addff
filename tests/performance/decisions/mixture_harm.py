"""Harm of a mixture to a metric of the user's: mixtures taken out without harm, and harm that is seen, day by day."""

from functools import partial

import numpy as np

from optagent.arrays import Vector
from optagent.loop.mixture.harm import find_harm
from tests.performance.decisions.case import Case
from tests.simulation.streams import DAY_S, autoregressive

_ROWS = 50.0


def is_ever_harmed(means: Vector) -> bool:
    """True where the means of days, looked at after each, once count as harm."""
    sums = {str(day): (_ROWS * mean, _ROWS) for day, mean in enumerate(means.tolist())}
    return any(find_harm({"profit": sums}, day * DAY_S) is not None for day in range(1, len(means) + 1))


def harmed_share(runs: int, fall: float, memory: float, days: int) -> float:
    """The share of runs that are taken out within so many days, in which a metric falls by `fall` spreads of a day."""
    streams = (autoregressive(np.random.default_rng([seed, 7]), days, memory) - fall for seed in range(runs))
    return float(np.mean([is_ever_harmed(means) for means in streams]))


def _case(name: str, stream: str, asked: str, fall: float, memory: float, days: int) -> Case:
    measure = partial(harmed_share, fall=fall, memory=memory, days=days)
    return Case(f"mixture-harm-{name}", "mixture", stream, "taken out", asked, 400, measure)


CASES = [
    _case("none", "no fall, 90 days", "<= .01", 0.0, 0.0, 90),
    _case("none-memory", "no fall, 90 days of memory .5", "<= .02", 0.0, 0.5, 90),
    _case("one", "a fall of one spread, 30 days", ">= .85", 1.0, 0.0, 30),
    _case("half", "a fall of half a spread, 90 days", "", 0.5, 0.0, 90),
]
