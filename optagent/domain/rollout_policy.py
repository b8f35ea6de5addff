"""Rollout policy: the proof that a candidate owes, its rows, the risk of a wrong decision, and the limits of harm."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from optagent.domain.strategy import Strategy
from optagent.errors import InvalidRequest

ERRORS = "errors"
SLOW = "slow"
"""The guardrails of every rollout: requests that the candidate failed, and those that it answered too late."""

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
    """The rules of one rollout; losses are per row, the candidate's less the champion's.

    `alpha` is the risk of one wrong decision in the whole rollout. `margin` is the loss that still counts as no worse
    in shadow, `ramp_margin` the one on split traffic (None: the same). `ramp` lists the candidate's shares, in order;
    without any, shadow leads straight to the champion's place. Shadow and each step need `min_rows`. An undecided
    rollout ends after `horizon_rows` in shadow, or `ramp_horizon_rows` over all steps. `guardrails` are the highest
    tolerated rates of bad rows. `label_delay_s` is the time to wait for the label of a request, `budget_ms` the time
    that the candidate may take for one. With `hold`, a candidate that passed in shadow stays there until somebody
    promotes it. `block` is the number of rows that shadow averages; None means that it follows from the rows.
    """

    alpha: float = 0.05
    alpha_split: AlphaSplit = field(default_factory=AlphaSplit)
    margin: float = 0.0
    ramp_margin: float | None = None
    shadow: bool = True
    ramp: tuple[float, ...] = (0.05, 0.25, 0.5)
    min_rows: int = 1000
    horizon_rows: int = 50_000
    ramp_horizon_rows: int = 500_000
    block: int | None = None
    guardrails: Mapping[str, float] = field(default_factory=lambda: {ERRORS: 0.01, SLOW: 0.05})
    baking_s: float = 3600.0
    max_duration_s: float = 14 * 86400.0
    label_delay_s: float = 0.0
    budget_ms: float = 100.0
    hold: bool = False

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


def policy_of(strategy: Strategy, champion_loss: float) -> RolloutPolicy:
    """The rollout policy of a strategy, for a champion with that mean loss per row."""
    if not (math.isfinite(champion_loss) and champion_loss >= 0):
        raise InvalidRequest(f"the champion's loss must be a number that is not negative, got {champion_loss!r}")
    return RolloutPolicy(
        alpha=strategy.alpha,
        margin=strategy.margin * champion_loss,
        ramp_margin=max(strategy.margin, _RAMP_MARGIN) * champion_loss,
    )
