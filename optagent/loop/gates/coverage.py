"""Coverage gate: the intervals that a candidate would answer with have to cover what their level says."""

import numpy as np

from optagent.arrays import Prediction
from optagent.conformal.coverage import WATCHED
from optagent.conformal.holdout_coverage import LEAST_ROWS, RISK, ReplayedCoverage, replay_coverage
from optagent.conformal.scores import nonconformity_scores
from optagent.conformal.tracker import LEAST_SCORES
from optagent.domain.gate import GateResult, Gates, Verdict, interval_text
from optagent.domain.prediction_interval import LEVELS
from optagent.loop.train.prepare import PreparedRows

COVERAGE = "coverage"

_LEVEL = LEVELS[WATCHED]


def judge_coverage(gates: Gates, prediction: Prediction, prepared: PreparedRows) -> GateResult:
    """The result for a model with intervals: refused where the coverage is outside of the tolerance, beyond chance."""
    spec, time = prepared.spec, prepared.holdout_time
    rows, limit = len(prepared.holdout), gates.max_coverage_gap
    if rows < LEAST_ROWS:
        return _lack_rows(rows, limit)
    order = np.arange(rows) if time is None else np.argsort(time, kind="stable")
    scores = nonconformity_scores(spec.task, prediction[order], prepared.holdout.y[order])
    coverage = replay_coverage(spec.task, scores, None if time is None else time[order], spec.horizon)
    return judge_replayed(gates, coverage, is_at_least=spec.task.classifies)


def _lack_rows(rows: int, limit: float) -> GateResult:
    if rows < LEAST_SCORES:
        why = f"not judged: intervals start from at least {LEAST_SCORES} rows of holdout, got {rows:,}"
        return GateResult(COVERAGE, Verdict.INCONCLUSIVE, None, limit, why)
    why = f"not judged: {LEAST_ROWS} rows of holdout are needed to start from one half and measure on the other"
    return GateResult(COVERAGE, Verdict.PASS, None, limit, f"{why}, got {rows:,}")


def judge_replayed(gates: Gates, coverage: ReplayedCoverage, is_at_least: bool) -> GateResult:
    """Sets of labels may cover more than their level, for none is empty (`is_at_least`)."""
    limit, seen = gates.max_coverage_gap, coverage.coverage
    too_low = _LEVEL - seen.estimate
    too_high = -1.0 if is_at_least else min(coverage.inside, seen.estimate) - _LEVEL
    gap, p_value = max((too_low, coverage.p_low), (too_high, coverage.p_high))
    bounds = f"at least {_LEVEL - limit:.4g}" if is_at_least else f"{_LEVEL - limit:.4g} to {_LEVEL + limit:.4g}"
    reason = (
        f"{_LEVEL:.0%} intervals that start from {coverage.started_from:,} rows and follow their labels cover"
        f" {interval_text(seen, coverage.rows)}; it had to be {bounds}"
    )
    evidence = {
        "low": seen.low,
        "high": seen.high,
        "alpha": seen.alpha,
        "rows": coverage.rows,
        "started_from": coverage.started_from,
        "inside": coverage.inside,
        "p_value": p_value,
    }
    verdict = Verdict.PASS
    if gap > limit and p_value < RISK / 2:
        verdict = Verdict.FAIL
    elif gates.strict and (seen.low < _LEVEL - limit or (not is_at_least and seen.high > _LEVEL + limit)):
        verdict, reason = Verdict.INCONCLUSIVE, f"{reason}, and the interval reaches beyond it"
    elif gap > limit:
        reason = f"{reason}, which chance explains ({p_value:.2g})"
    return GateResult(COVERAGE, verdict, seen.estimate, limit, reason, evidence)
