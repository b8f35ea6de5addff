"""What is known about a candidate at one moment of its rollout, and what that meant."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from optagent.domain.gate import Verdict
from optagent.domain.study import Interval


class RolloutState(StrEnum):
    """`INCONCLUSIVE`: patience ended before anything was proved. `ROLLED_BACK`: harm, or by hand after a promotion."""

    SHADOW = "shadow"
    RAMP = "ramp"
    BAKING = "baking"
    PROMOTED = "promoted"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled back"
    INCONCLUSIVE = "inconclusive"

    @property
    def is_active(self) -> bool:
        """Whether looks still count."""
        return self in (RolloutState.SHADOW, RolloutState.RAMP, RolloutState.BAKING)


@dataclass(frozen=True, slots=True)
class GuardrailReading:
    """The rate of bad rows of the candidate, and the evidence (an e-value) that it is above the limit."""

    name: str
    limit: float
    rows: int
    rate: float | None
    e_value: float | None


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The candidate's share of split requests, meant and seen, and the evidence (an e-value) for a mismatch."""

    rows: int
    expected: float | None
    observed: float | None
    e_value: float | None


@dataclass(frozen=True, slots=True)
class Look:
    """The evidence at one moment, of the state and step of the ramp that it was gathered for.

    `improvement` is by how much less the candidate loses a row than the champion, `rows` what it is of, `step_rows`
    those of them of this step. `at` is a POSIX time. Looks of one `look_id` are the same look.
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

    @property
    def of_numbers(self) -> "Look":
        """The same look with None for what is no number, so that nothing is judged by it and JSON can hold it."""
        found, ratio = self.improvement, self.sample_ratio
        if found is not None and not all(map(math.isfinite, (found.estimate, found.low, found.high))):
            found = None
        if ratio is not None:
            observed, expected = _number(ratio.observed), _number(ratio.expected)
            ratio = replace(ratio, observed=observed, expected=expected, e_value=_number(ratio.e_value))
        guardrails = tuple(
            replace(reading, rate=_number(reading.rate), e_value=_number(reading.e_value))
            for reading in self.guardrails
        )
        return replace(self, improvement=found, sample_ratio=ratio, guardrails=guardrails)


def _number(value: float | None) -> float | None:
    """The value between -1e300 and 1e300, None for what is no number."""
    return None if value is None or math.isnan(value) else max(-1e300, min(1e300, value))


@dataclass(frozen=True, slots=True)
class JudgedLook:
    """A look, what it meant, why, and when it was judged (POSIX time; None in what older versions wrote)."""

    look: Look
    verdict: Verdict
    reason: str
    at: float | None = None
