"""How a candidate is let in: what it must prove, on how many rows, at which risk, and what counts as harm."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from optagent.domain.strategy import Strategy
from optagent.errors import InvalidRequest

ERRORS = "errors"
SLOW = "slow"
"""The guardrails of every rollout: requests that the candidate failed, and those that took it too long."""

_RAMP_MARGIN = 0.05  # of the champion's loss: shadow showed that the model is good, the ramp that nothing broke


@dataclass(frozen=True, slots=True)
class AlphaSplit:
    """How the risk of one wrong decision is shared out: to the stages, to all guardrails, to the sample ratio."""

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
    """The rules of one rollout; losses are per row, of the candidate less the champion's.

    `alpha` is the risk of one wrong decision in the whole rollout. `margin` is the loss that still counts as no worse
    in shadow, `ramp_margin` the one on split traffic (None: the same). `ramp` are the candidate's shares, in order;
    without any, shadow leads straight to the champion's place. `min_rows` are needed in shadow and at each step.
    `horizon_rows` (shadow) and `ramp_horizon_rows` (all steps together) are where patience ends. `guardrails` are the
    highest rates of bad rows that are no harm. `label_delay_s` is how long after a request its label is waited for,
    `budget_ms` how long the candidate may take for one. With `hold`, one that has proved itself in shadow stays there
    until somebody promotes it. `block` is how many rows shadow averages, None for what the
    rows say.
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
        """Of each guardrail."""
        return self.alpha * self.alpha_split.guardrails / max(1, len(self.guardrails))

    @property
    def harm_margin_of_ramp(self) -> float:
        return self.margin if self.ramp_margin is None else self.ramp_margin

    def step_margin(self, step: int) -> float:
        """What a step of the ramp has to rule out: times its share, which is the harm to all traffic, always the same.

        So a step of few rows is not asked for what only many rows can prove.

        >>> policy = RolloutPolicy(ramp=(0.25, 0.5), ramp_margin=0.02)
        >>> policy.step_margin(0), policy.step_margin(1)
        (0.04, 0.02)
        """
        return self.harm_margin_of_ramp * self.ramp[-1] / self.ramp[step]


def policy_of(strategy: Strategy, champion_loss: float) -> RolloutPolicy:
    """The rules that a strategy stands for, where the champion loses that much a row on average."""
    if not (math.isfinite(champion_loss) and champion_loss >= 0):
        raise InvalidRequest(f"the champion's loss must be a number that is not negative, got {champion_loss!r}")
    return RolloutPolicy(
        alpha=strategy.alpha,
        margin=strategy.margin * champion_loss,
        ramp_margin=max(strategy.margin, _RAMP_MARGIN) * champion_loss,
    )
