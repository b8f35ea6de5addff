"""Selection of the best of many strategies: skill found where there is none, and the probability of overfitting.

A run is one selection by the Sharpe ratio among strategies with daily returns, of which all or all but one are noise.
"""

import math
from functools import partial

import numpy as np

from optagent.analysis.backtest_overfitting import overfitting_probability
from optagent.analysis.selection_skill import judge_selection
from optagent.analysis.sharpe_ratio import deflated_probability, probability_above, sharpe_ratios
from optagent.analysis.trading import sharpe_interval
from optagent.domain.study import Trial, TrialState
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


def search_shows_skill(runs: int, trials: int = 30, common: float = 0.0, skill: float = 0.0) -> float:
    """The share of searches that are said to have found skill at `ALPHA`: trials with gains in 16 blocks, whose true
    ratios spread from 0 to twice `skill`."""
    return float(np.mean([_search_shows_skill(seed, trials, common, skill) for seed in range(runs)]))


def _search_shows_skill(seed: int, trials: int, common: float, skill: float) -> bool:
    gains = strategy_returns(seed, common=common, strategies=trials, days=16) + np.linspace(0, 2 * skill, trials)
    told = [
        Trial(number, "f", {}, TrialState.COMPLETE, float(own.mean()), block_gains=tuple(own.tolist()))
        for number, own in enumerate(gains.T)
    ]
    verdict = judge_selection(told, maximize=True)
    assert verdict is not None
    assert verdict.deflated is not None
    return verdict.deflated > 1 - ALPHA


def mean_overfitting(runs: int, **world: float) -> float:
    """The mean probability of backtest overfitting."""
    returns = (strategy_returns(seed, **world) for seed in range(runs))  # type: ignore[arg-type]
    return float(np.mean([overfitting_probability(each, ratios=True) for each in returns]))


def sharpe_misses(runs: int, skill: float = 0.05, phi: float = 0.0, tails: float = math.inf, days: int = DAYS) -> float:
    """The share of 95 % intervals of the annual Sharpe ratio that do not hold the true one; `tails` are the degrees of
    freedom of Student's t."""
    misses = 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, 22])
        noise = rng.standard_normal(days) if math.isinf(tails) else rng.standard_t(tails, days) * (1 - 2 / tails) ** 0.5
        for day in range(1, days if phi else 0):
            noise[day] = phi * noise[day - 1] + (1 - phi**2) ** 0.5 * noise[day]
        interval = sharpe_interval(noise + skill, 252, seed=seed)
        assert interval is not None
        misses += not interval.low <= skill * 252**0.5 <= interval.high
    return misses / runs


def _interval(name: str, stream: str, **world: float) -> Case:
    measure = partial(sharpe_misses, **world)  # type: ignore[arg-type]
    return Case(f"sharpe-{name}", "Sharpe interval", stream, "misses", "<= .05", 300, measure)


def _skill(name: str, stream: str, asked: str, deflated: bool = True, **world: float) -> Case:
    measure = partial(skill_shown, deflated=deflated, **world)
    decision = "deflated Sharpe ratio" if deflated else "Sharpe ratio"
    return Case(f"selection-{name}", decision, stream, "said to have skill", asked, 200, measure)


def _search(name: str, stream: str, asked: str, **world: float) -> Case:
    measure = partial(search_shows_skill, **world)
    return Case(f"search-{name}", "skill of a search", stream, "said to have skill", asked, 1_000, measure)


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
    _search("noise-5", "5 trials without skill, 16 blocks", "<= .05", trials=5),
    _search("noise-30", "30 trials without skill, 16 blocks", "<= .05"),
    _search("alike", "30 trials without skill, correlation .8", "<= .05", common=0.8),
    _search("same", "30 trials without skill, correlation .99", "<= .05", common=0.99),
    _search("spread", "30 trials of ratios 0 to 2 a block", "", skill=1.0),
    _interval("iid", "1,000 days, i.i.d."),
    _interval("tails", "1,000 days, t of 4", tails=4),
    _interval("memory", "1,000 days, AR(.3)", phi=0.3),
    _interval("short", "250 days, i.i.d.", days=250),
    _overfitting("noise", "1,000 without skill", "about .5"),
    _overfitting("power-10", "one of 1,000 with .1 a day", "", skill=0.1),
    _overfitting("power-20", "one of 1,000 with .2 a day", "", skill=0.2),
    _overfitting("power-30", "one of 1,000 with .3 a day", "about 0", skill=0.3),
]
