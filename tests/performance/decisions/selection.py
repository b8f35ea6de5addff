"""Selection of the best of many strategies: skill found where there is none, and the probability of overfitting.

A run is one selection by the Sharpe ratio among strategies with daily returns, of which all or all but one are noise.
"""

from functools import partial

import numpy as np

from optagent.analysis.backtest_overfitting import overfitting_probability
from optagent.analysis.sharpe_ratio import deflated_probability, probability_above, sharpe_ratios
from tests.performance.decisions.case import Case
from tests.simulation.streams import Series

ALPHA = 0.05
STRATEGIES, DAYS = 1_000, 1_000


def strategy_returns(
    seed: int, skill: float = 0.0, phi: float = 0.0, common: float = 0.0, strategies: int = STRATEGIES, days: int = DAYS
) -> Series:
    """(days, strategies) returns of variance 1; the last strategy has a daily Sharpe ratio of `skill`.

    `phi` is the memory from day to day, `common` the correlation of any two strategies.
    """
    rng = np.random.default_rng([seed, 21])
    noise = rng.standard_normal((days, strategies))
    if common:
        noise = np.sqrt(1 - common) * noise + np.sqrt(common) * rng.standard_normal((days, 1))
    for day in range(1, days if phi else 0):
        noise[day] = phi * noise[day - 1] + np.sqrt(1 - phi**2) * noise[day]
    noise[:, -1] += skill
    return noise


def skill_shown(runs: int, deflated: bool = True, **world: float) -> float:
    """The share of selections whose best strategy is said to have skill at `ALPHA`."""
    return float(np.mean([_shows_skill(strategy_returns(seed, **world), deflated) for seed in range(runs)]))  # type: ignore[arg-type]


def _shows_skill(returns: Series, deflated: bool) -> bool:
    ratios = sharpe_ratios(returns)
    best = returns[:, ratios.argmax()]
    if deflated:
        return deflated_probability(best, len(ratios), float(ratios.var(ddof=1))) > 1 - ALPHA
    return probability_above(best, 0) > 1 - ALPHA


def mean_overfitting(runs: int, **world: float) -> float:
    """The mean probability of backtest overfitting."""
    returns = (strategy_returns(seed, **world) for seed in range(runs))  # type: ignore[arg-type]
    return float(np.mean([overfitting_probability(each, ratios=True) for each in returns]))


def _skill(name: str, stream: str, asked: str, deflated: bool = True, **world: float) -> Case:
    measure = partial(skill_shown, deflated=deflated, **world)
    decision = "deflated Sharpe ratio" if deflated else "Sharpe ratio"
    return Case(f"selection-{name}", decision, stream, "said to have skill", asked, 200, measure)


def _overfitting(name: str, stream: str, asked: str, **world: float) -> Case:
    measure = partial(mean_overfitting, **world)
    return Case(f"overfitting-{name}", "overfitting", stream, "probability", asked, 20, measure)


CASES = [
    _skill("noise", "best of 1,000 without skill, 1,000 days", "<= .05"),
    _skill("undeflated", "best of 1,000 without skill, 1,000 days", "far beyond .05", deflated=False),
    _skill("few", "best of 20 without skill, 250 days", "<= .05", strategies=20, days=250),
    _skill("blocks", "best of 100 without skill, 16 blocks", "<= .05", strategies=100, days=16),
    _skill("alike", "best of 1,000 without skill, correlation .8", "<= .05", common=0.8),
    _skill("memory", "best of 1,000 without skill, AR(.3)", "", phi=0.3),
    _skill("power-10", "one of 1,000 with .1 a day, 1.6 a year", "", skill=0.1),
    _skill("power-20", "one of 1,000 with .2 a day, 3.2 a year", "", skill=0.2),
    _overfitting("noise", "1,000 without skill", "about .5"),
    _overfitting("power-10", "one of 1,000 with .1 a day", "", skill=0.1),
    _overfitting("power-20", "one of 1,000 with .2 a day", "", skill=0.2),
    _overfitting("power-30", "one of 1,000 with .3 a day", "about 0", skill=0.3),
]
