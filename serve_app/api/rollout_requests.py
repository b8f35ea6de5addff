"""Bodies of requests about rollouts and mixtures: their policies, and decisions by hand with their reason."""

from typing import Annotated

from fastapi import Body
from pydantic import Field

from serve_app.api.requests import Amount, Name, Request, Share, StrategyField, Whole


class AlphaSplitFields(Request):
    """The shares of the risk of a wrong decision by its parts; they sum to 1 at most."""

    shadow: Annotated[Share, Field(description="of the proof in shadow")] = 0.4
    ramp: Annotated[Share, Field(description="of the steps of the ramp")] = 0.3
    baking: Annotated[Share, Field(description="of the time after the last step")] = 0.1
    guardrails: Annotated[Share, Field(description="of all guardrails together")] = 0.1
    sample_ratio: Annotated[Share, Field(description="of the check that the arms get their shares")] = 0.1


class PolicyFields(Request):
    """The rules of a rollout; its strategy gives the fields that are left out."""

    alpha: Annotated[Share, Field(description="left out: the strategy's")] = 0.05
    alpha_split: AlphaSplitFields = AlphaSplitFields()
    margin: Annotated[Amount, Field(description="left out: the strategy's, of the champion's loss")] = 0.0
    ramp_margin: Annotated[Amount | None, Field(description="left out: the strategy's")] = None
    shadow: bool = True
    ramp: Annotated[list[Share], Field(max_length=20, description="the candidate's shares, rising")] = [0.05, 0.25, 0.5]
    min_rows: Whole = 1000
    horizon_rows: Whole = 50_000
    ramp_horizon_rows: Whole = 500_000
    block: Whole | None = None
    guardrails: Annotated[dict[Name, Share], Field(max_length=100)] = {"errors": 0.01, "slow": 0.05}
    baking_s: Amount = 3600.0
    max_duration_s: Amount = 14 * 86400.0
    label_delay_s: Annotated[Amount, Field(description="left out: the model's label horizon, if a duration")] = 0.0
    budget_ms: Annotated[float, Field(ge=1, le=60_000)] = 100.0
    hold: Annotated[bool, Field(description="proved in shadow, it stays there until somebody promotes it")] = False
    tuned_rows: Annotated[Whole, Field(description="labelled rows after which bounds are narrowest")] = 2000
    block_s: Annotated[Amount, Field(description="left out: a day, or the label horizon if longer")] = 0.0
    step_rows: Annotated[Whole | None, Field(description="of each step after shadow; left out: by the traffic")] = None
    block_effects: Annotated[bool, Field(description="left out: as the champion's reference tells")] = False


class RolloutRequest(Request):
    """Start the rollout of a candidate: in shadow first, then as the policy says."""

    candidate: Annotated[Name, Field(description="a version or an alias")] = "challenger"
    strategy: StrategyField = "balanced"
    policy: Annotated[PolicyFields | None, Field(description="rules of its own; left out: the strategy's")] = None


class Decision(Request):
    """The reason of an action by hand, which is stored with it."""

    why: Annotated[str, Field(max_length=1000, description="the reason, in words")] = "by hand"


Why = Annotated[Decision, Body(default_factory=Decision)]
"""The body of an action by hand, which may be left out."""


class ForgetRequest(Decision):
    """The time range whose rows a mixture is to forget, and the reason."""

    range: Annotated[
        Annotated[str, Field(max_length=100)]
        | Annotated[list[Annotated[str, Field(max_length=100)] | float], Field(min_length=2, max_length=2)],
        Field(
            examples=["2026-11-01..2026-11-03"],
            description="START..END or two instants, which are over; a duration back from now (`90m`, `24h`, `7d`)",
        ),
    ]
