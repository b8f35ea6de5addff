"""Strategies: the budget to spend and the risk to take, by name."""

from dataclasses import dataclass

from optagent.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Strategy:
    """A trade-off between cost and caution."""

    name: str
    """The name by which it is chosen."""
    trials: float
    """The share of the trials that the settings allow."""
    timeout: float
    """The share of the wall time that the settings allow."""
    reduction_factor: int
    """The factor of early stopping (ASHA): of so many trials that reach a rung, one goes on."""
    grace_units: int
    """Units of budget that each trial has before it may be stopped."""
    alpha: float
    """The error rate of every interval and test."""
    margin: float
    """The loss of quality, as a share of the champion's, that still counts as no worse."""


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy(
            "conservative",
            trials=0.5,
            timeout=0.5,
            reduction_factor=2,
            grace_units=9,
            alpha=0.01,
            margin=0.0,
        ),
        Strategy(
            "balanced",
            trials=1.0,
            timeout=1.0,
            reduction_factor=3,
            grace_units=3,
            alpha=0.05,
            margin=0.01,
        ),
        Strategy(
            "aggressive",
            trials=1.0,
            timeout=1.0,
            reduction_factor=4,
            grace_units=1,
            alpha=0.1,
            margin=0.02,
        ),
    )
}


def strategy_named(name: str) -> Strategy:
    """The strategy of that name; InvalidRequest lists the known ones."""
    if name not in STRATEGIES:
        raise InvalidRequest(f"unknown strategy {name!r}; one of {sorted(STRATEGIES)}")
    return STRATEGIES[name]
