"""Measured gain: the improvement of a candidate on a rival, and its result at the gates."""

import math
from dataclasses import dataclass

from optagent.domain.gate import (
    NOT_WORSE,
    Criterion,
    GateResult,
    Gates,
    Verdict,
    confidence_text,
    interval_evidence,
)
from optagent.domain.study import Interval


@dataclass(frozen=True, slots=True)
class MeasuredGain:
    """The improvement of a candidate on the model `against` over `rows` rows, whose score by `metric` is `score`.

    `interval` has half of its alpha on each side. The gain is at least `least` but for the risk `least_alpha`, and
    `corrected` is its estimate given that it passes.
    """

    interval: Interval
    least: float
    least_alpha: float
    corrected: float
    against: str
    score: float
    metric: str
    rows: int


def required_gain(gates: Gates, score: float) -> float:
    """The gain that a candidate has to exceed, where the champion's score is `score`: 0, or a loss that is tolerated.

    >>> required_gain(Gates(beats_champion="not_worse", margin=0.01), 0.5)
    -0.005
    """
    return -gates.margin * abs(score) if gates.beats_champion == NOT_WORSE else 0.0


def judge_gain(name: str, gain: MeasuredGain, gates: Gates, criterion: Criterion) -> GateResult:
    """The result of the candidate's gain: passes above what is required, fails where it is worse with confidence."""
    interval, required = gain.interval, required_gain(gates, gain.score)
    if not all(map(math.isfinite, (interval.estimate, interval.low, interval.high, gain.least, gain.score))):
        return GateResult(name, Verdict.ERROR, None, None, f"the difference to {gain.against} is no number")
    good = gain.least >= required if gates.beats_champion == NOT_WORSE else gain.least > required
    worse = interval.high < required
    verdict = Verdict.PASS if good else Verdict.FAIL if worse else Verdict.INCONCLUSIVE
    bound = f"at least {gain.least:.4g} at {confidence_text(gain.least_alpha)} confidence"
    if worse and not good:
        bound = f"at most {interval.high:.4g} at {confidence_text(interval.alpha / 2)} confidence"
    reason = (
        f"{'filter, shadow decides: ' if criterion is Criterion.FILTER else ''}better than {gain.against} by"
        f" {interval.estimate:.4g} on {gain.rows:,} rows, {bound} ({gain.metric});"
        f" it had to be {'at least' if gates.beats_champion == NOT_WORSE else 'above'} {required:.4g}"
    )
    evidence = {
        **interval_evidence(interval, gain.rows),
        "champion": gain.score,
        "least": gain.least,
        "least_alpha": gain.least_alpha,
    }
    if good:
        reason = f"{reason}; corrected for having passed, the gain is {gain.corrected:.4g}"
        evidence["corrected"] = gain.corrected
    return GateResult(name, verdict, interval.estimate, required, reason, evidence)
