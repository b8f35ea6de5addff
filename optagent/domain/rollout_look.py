"""Rollout looks: the evidence about a candidate at one moment of its rollout, and its judgement."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from optagent.domain.gate import Verdict
from optagent.domain.study import Interval


class RolloutState(StrEnum):
    """State of a rollout. `INCONCLUSIVE`: the time or rows ran out before a proof.

    `ROLLED_BACK`: the candidate did harm, or somebody took it back after its promotion.
    """

    SHADOW = "shadow"
    RAMP = "ramp"
    BAKING = "baking"
    PROMOTED = "promoted"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled back"
    INCONCLUSIVE = "inconclusive"

    @property
    def is_active(self) -> bool:
        """True while looks still count."""
        return self in (RolloutState.SHADOW, RolloutState.RAMP, RolloutState.BAKING)


@dataclass(frozen=True, slots=True)
class GuardrailReading:
    """The rate of bad requests of the candidate, and the evidence (an e-value) that it is above the limit.

    `rows` is the number of its requests; `rate` is that of all of them, or of the newest where it is higher.
    """

    name: str
    limit: float
    rows: int
    rate: float | None
    e_value: float | None


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The candidate's expected and observed shares of split requests, and the evidence (an e-value) of a mismatch."""

    rows: int
    expected: float | None
    observed: float | None
    e_value: float | None


@dataclass(frozen=True, slots=True)
class Look:
    """The evidence at one moment, gathered in a state and step of the ramp.

    `improvement` is the champion's loss per row less the candidate's, over `rows` rows, of which `step_rows` belong to
    this step. `at` is a POSIX time. Looks of one `look_id` are the same look. `paired` is the improvement on split
    traffic by the rows of both arms that both versions scored; in other states `improvement` is that already.
    """

    look_id: str
    at: float
    state: RolloutState
    step: int = 0
    rows: int = 0
    step_rows: int = 0
    improvement: Interval | None = None
    guardrails: tuple[GuardrailReading, ...] = ()
    sample_ratio: SampleRatio | None = None
    notes: tuple[str, ...] = ()
    paired: Interval | None = None

    @property
    def without_invalid_numbers(self) -> "Look":
        """The same look with None in place of each NaN, so that it decides nothing and JSON can hold the look."""
        interval, paired = _finite_interval(self.improvement), _finite_interval(self.paired)
        ratio = self.sample_ratio
        if ratio is not None:
            observed, expected = _clip(ratio.observed), _clip(ratio.expected)
            ratio = replace(ratio, observed=observed, expected=expected, e_value=_clip(ratio.e_value))
        guardrails = tuple(
            replace(reading, rate=_clip(reading.rate), e_value=_clip(reading.e_value)) for reading in self.guardrails
        )
        return replace(self, improvement=interval, sample_ratio=ratio, guardrails=guardrails, paired=paired)


def _finite_interval(interval: Interval | None) -> Interval | None:
    if interval is None or not all(map(math.isfinite, (interval.estimate, interval.low, interval.high))):
        return None
    return interval


def _clip(value: float | None) -> float | None:
    """The value limited to -1e300 and 1e300, None for NaN."""
    return None if value is None or math.isnan(value) else max(-1e300, min(1e300, value))


@dataclass(frozen=True, slots=True)
class JudgedLook:
    """A look with its verdict, the reason, and the POSIX time of the judgement (None in data of older versions)."""

    look: Look
    verdict: Verdict
    reason: str
    at: float | None = None
