"""Rollout policy: the proof that a candidate owes, its rows, the risk of a wrong decision, and the limits of harm."""

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from optagent.domain.strategy import Strategy
from optagent.errors import InvalidRequest

ERRORS = "errors"
SLOW = "slow"
"""The guardrails of every rollout: requests that the candidate failed, and those that it answered too late."""

_DAY_S = 86_400.0
_LEAST_ROWS = 50
_BAKING_ROWS = 200  # with labels: fewer tell no harm
_STEPS_A_DAY = 6
_PATIENCE_ROWS = 4_500  # of labels: half as many again as prove a gain of 3 % in nine of ten rollouts
_PATIENCE_BLOCKS = 21
_RAMP_MARGIN = 0.05  # of the champion's loss: shadow showed that the model is good, the ramp that nothing broke


@dataclass(frozen=True, slots=True)
class AlphaSplit:
    """The shares of the risk of one wrong decision: those of the stages, of all guardrails, of the sample ratio."""

    shadow: float = 0.4
    ramp: float = 0.3
    baking: float = 0.1
    guardrails: float = 0.1
    sample_ratio: float = 0.1

    def __post_init__(self) -> None:
        parts = (self.shadow, self.ramp, self.baking, self.guardrails, self.sample_ratio)
        if not (all(part > 0 for part in parts) and sum(parts) <= 1 + 1e-9):
            raise InvalidRequest(f"the parts of alpha must be above 0 and sum to 1 at most, got {parts}")


@dataclass(frozen=True, slots=True)
class RolloutPolicy:
    """The rules of one rollout; losses are per row, the candidate's less the champion's."""

    alpha: float = 0.05
    """The risk of one wrong decision in the whole rollout."""
    alpha_split: AlphaSplit = field(default_factory=AlphaSplit)
    """The shares of that risk: of the stages, of all guardrails, of the sample ratio."""
    margin: float = 0.0
    """The loss that still counts as no worse in shadow."""
    ramp_margin: float | None = None
    """The loss that still counts as no worse on split traffic. Unset: the same."""
    shadow: bool = True
    """True: the candidate is asked about every request first, and its answers are thrown away."""
    ramp: tuple[float, ...] = (0.05, 0.25, 0.5)
    """The candidate's shares of the requests, in order. Without any, shadow leads straight to the champion's place."""
    min_rows: int = 1000
    """The least labelled rows of shadow, and of each step of a ramp without shadow."""
    horizon_rows: int = 50_000
    """The rows in shadow after which an undecided rollout ends."""
    ramp_horizon_rows: int = 500_000
    """The rows over all steps of the ramp after which an undecided rollout ends."""
    block: int | None = None
    """The number of rows that shadow averages. Unset: it follows from the rows."""
    guardrails: Mapping[str, float] = field(default_factory=lambda: {ERRORS: 0.01, SLOW: 0.05})
    """The highest tolerated rates of bad rows, by name: errors, and answers that come too late."""
    baking_s: float = 3600.0
    """The time that the candidate answers everything before it is promoted, in seconds."""
    max_duration_s: float = 14 * 86400.0
    """The patience: the time after which an undecided rollout ends, in seconds."""
    label_delay_s: float = 0.0
    """The time to wait for the label of a request, in seconds."""
    budget_ms: float = 100.0
    """The time that the candidate may take for a request, in milliseconds."""
    hold: bool = False
    """True: a candidate that passed in shadow stays there until somebody promotes it."""
    tuned_rows: int = 2_000
    """The labelled rows after which shadow's bounds are narrowest; the patience is apart from it."""
    block_s: float = 0.0
    """The length of blocks such as days, in seconds, by which rows are compared where they have more in common within
    one than between two. 0: rows are compared one by one."""
    block_effects: bool = False
    """True: rows of one block are known to have more in common."""
    step_rows: int | None = None
    """The requests, with labels or without, that each step of a ramp after shadow lasts for. Unset: `min_rows`."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InvalidRequest(f"alpha must be between 0 and 1, got {self.alpha!r}")
        for name in ("margin", "ramp_margin"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InvalidRequest(f"{name} must not be negative, got {value!r}")
        if not all(0 < share < 1 for share in self.ramp) or list(self.ramp) != sorted(set(self.ramp)):
            raise InvalidRequest(f"the shares of ramp must be between 0 and 1 and rise, got {self.ramp}")
        if not (self.shadow or self.ramp):
            raise InvalidRequest("a rollout needs shadow, a ramp or both")
        if not 1 <= self.min_rows <= min(self.horizon_rows, self.ramp_horizon_rows):
            raise InvalidRequest(f"min_rows must be between 1 and the horizons, got {self.min_rows}")
        if self.block is not None and not 1 <= self.block <= self.horizon_rows:
            raise InvalidRequest(f"block must be between 1 and {self.horizon_rows}, got {self.block}")
        for name, limit in self.guardrails.items():
            if not 0 < limit < 1:
                raise InvalidRequest(f"guardrails: {name} must be between 0 and 1, got {limit!r}")
        if not (math.isfinite(self.label_delay_s) and self.label_delay_s >= 0):
            raise InvalidRequest(f"label_delay_s must not be negative, got {self.label_delay_s!r}")
        if not 1 <= self.tuned_rows <= 1_000_000_000:
            raise InvalidRequest(f"tuned_rows must be between 1 and 1000000000, got {self.tuned_rows!r}")
        if self.step_rows is not None and not 1 <= self.step_rows <= self.ramp_horizon_rows:
            raise InvalidRequest(f"step_rows must be between 1 and {self.ramp_horizon_rows}, got {self.step_rows!r}")
        if not (math.isfinite(self.block_s) and self.block_s >= 0):
            raise InvalidRequest(f"block_s must not be negative, got {self.block_s!r}")
        if not 1 <= self.budget_ms <= 60_000:
            raise InvalidRequest(f"budget_ms must be between 1 and 60000, got {self.budget_ms!r}")
        if not (self.baking_s >= 0 and self.max_duration_s > self.baking_s):
            raise InvalidRequest(
                f"max_duration_s must be above baking_s, and that not negative, got {self.max_duration_s!r} and "
                f"{self.baking_s!r}"
            )

    @property
    def shadow_alpha(self) -> float:
        return self.alpha * self.alpha_split.shadow

    @property
    def ramp_alpha(self) -> float:
        return self.alpha * self.alpha_split.ramp

    @property
    def baking_alpha(self) -> float:
        return self.alpha * self.alpha_split.baking

    @property
    def sample_ratio_alpha(self) -> float:
        return self.alpha * self.alpha_split.sample_ratio

    @property
    def guardrail_alpha(self) -> float:
        """The risk of a wrong decision by each single guardrail."""
        return self.alpha * self.alpha_split.guardrails / max(1, len(self.guardrails))

    @property
    def harm_margin_of_ramp(self) -> float:
        return self.margin if self.ramp_margin is None else self.ramp_margin

    def step_margin(self, step: int) -> float:
        """The loss per row that a step of the ramp has to rule out.

        The loss times the step's share is the harm to all traffic, which is the same for every step. So a step of few
        rows need not prove what only many rows can prove.

        >>> policy = RolloutPolicy(ramp=(0.25, 0.5), ramp_margin=0.02)
        >>> policy.step_margin(0), policy.step_margin(1)
        (0.04, 0.02)
        """
        return self.harm_margin_of_ramp * self.ramp[-1] / self.ramp[step]


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic of a model: its rows a day, and whether rows of one day have more in common than those of two."""

    rows_a_day: float
    day_effects: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rows_a_day) and self.rows_a_day > 0):
            raise InvalidRequest(f"rows_a_day must be above 0, got {self.rows_a_day!r}")

    def seconds_for(self, rows: float) -> float:
        """The time in which so many rows come."""
        return rows / self.rows_a_day * _DAY_S


def suit_policy(policy: RolloutPolicy, traffic: Traffic, chosen: Container[str]) -> RolloutPolicy:
    """The policy with the rows and times that the model's traffic allows, but for the fields that somebody chose.

    Raises InvalidRequest, with the numbers, where the rollout could not end: labels of `min_rows` rows would come later
    than its patience ends.
    """
    delay, block_s = policy.label_delay_s, max(_DAY_S, policy.label_delay_s)
    least = max(_LEAST_ROWS, min(policy.min_rows, round(traffic.rows_a_day / 2)))
    min_rows = policy.min_rows if "min_rows" in chosen else least
    needed_s = delay + traffic.seconds_for(min_rows)
    patience_s = policy.max_duration_s
    if "max_duration_s" not in chosen:
        blocks_s = _PATIENCE_BLOCKS * block_s if traffic.day_effects else 0.0
        patience_s = max(patience_s, delay + max(traffic.seconds_for(_PATIENCE_ROWS), blocks_s), 1.5 * needed_s)
    if needed_s >= patience_s:
        raise InvalidRequest(
            f"this rollout could not end: at {traffic.rows_a_day:.3g} rows a day, labels of min_rows {min_rows} take "
            f"{needed_s / _DAY_S:.3g} days, and max_duration_s is {patience_s / _DAY_S:.3g} days"
        )
    baking_s = delay + traffic.seconds_for(max(min_rows, _BAKING_ROWS))
    suited: dict[str, Any] = {
        "min_rows": min_rows,
        "step_rows": max(_LEAST_ROWS, min(policy.min_rows, round(traffic.rows_a_day / _STEPS_A_DAY))),
        "baking_s": max(policy.baking_s, min(baking_s, 0.9 * patience_s)),
        "max_duration_s": patience_s,
        "block_s": block_s,
        "block_effects": traffic.day_effects,
    }
    return replace(policy, **{name: value for name, value in suited.items() if name not in chosen})


def policy_of(strategy: Strategy, champion_loss: float, spread: float | None = None) -> RolloutPolicy:
    """The rollout policy of a strategy, for a champion with that mean loss per row, and that spread of the losses.

    The margins are shares of the geometric mean of both. Shares of the mean alone could not be proved where a class is
    rare: losses of .01 that vary by .08 need ten times the rows of losses of .17 that vary by .2. Without a spread they
    are shares of the mean.
    """
    for name, value in (("loss", champion_loss), ("spread of losses", 0.0 if spread is None else spread)):
        if not (math.isfinite(value) and value >= 0):
            raise InvalidRequest(f"the champion's {name} must be a number that is not negative, got {value!r}")
    unit = champion_loss if spread is None else math.sqrt(champion_loss * spread)
    return RolloutPolicy(
        alpha=strategy.alpha,
        margin=strategy.margin * unit,
        ramp_margin=max(strategy.margin, _RAMP_MARGIN) * unit,
    )
