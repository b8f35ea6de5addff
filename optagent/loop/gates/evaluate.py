"""Gate evaluation: every gate that was asked for, judged on the holdout, at the price of one look at it."""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from optagent.analysis.bootstrap import bootstrap_intervals
from optagent.arrays import Prediction
from optagent.domain.command import OptimizeModel
from optagent.domain.gate import (
    FILTER_ALPHA,
    Criterion,
    GateReport,
    GateResult,
    Gates,
    Verdict,
    gates_from,
    judge_improvement,
    judge_limit,
    judge_number,
    judge_skill,
    verdict_of,
)
from optagent.domain.ledger import HoldoutLook
from optagent.domain.measured_gain import MeasuredGain, judge_gain, required_gain
from optagent.domain.model import ModelSpec, Task
from optagent.domain.policy import Action
from optagent.errors import InvalidData, InvalidRequest
from optagent.loop.gates.anchor import ANCHOR, unmeasured_anchor
from optagent.loop.gates.bias import judge_bias
from optagent.loop.gates.bundle import CandidateBundle, guarded_gate, judge_bundle
from optagent.loop.gates.coverage import COVERAGE, judge_coverage
from optagent.loop.train.holdout import Baseline, Comparison, HoldoutTest, compare_on_holdout, constant_prediction
from optagent.loop.train.holdout_looks import degrees_of_freedom, record_look
from optagent.loop.train.prepare import PreparedRows
from optagent.ports import Loader, Store
from optagent.sequential.holdout_ledger import resampled_alpha, widen_interval
from optagent.sequential.selected_gain import corrected_gain
from optagent.training.metrics import Metric, metric_named, quantile_of

SAMPLES, CHAMPION, CONSTANT = "validation samples", "champion", "constant"
_RESAMPLED = 0.1  # of a proof: 1,000 resamples tell the quantile of .05 best, from which the far tails follow
_SKILL = {Task.BINARY: "log_loss", Task.MULTICLASS: "log_loss", Task.REGRESSION: "rmse"}
_WEIGHTED_SKILL = {Task.BINARY: "auc", Task.MULTICLASS: "balanced_accuracy"}  # weights bend the probabilities


def gates_for(data: Mapping[str, Any], spec: ModelSpec) -> Gates:
    """The gates of a user's mapping, for a model; InvalidRequest for gates that do not fit the model."""
    gates = gates_from(data)
    check_gates(gates, spec)
    return gates


def check_gates(gates: Gates, spec: ModelSpec) -> None:
    """Raises InvalidRequest for limits of metrics that the task does not have, or that are out of their range."""
    for end, limits in (("min", gates.metrics_min), ("max", gates.metrics_max)):
        for name, limit in limits.items():
            if not name:
                raise InvalidRequest(f"_{end}: the name of a metric is missing")
            try:
                metric = metric_named(name, spec.task)
            except InvalidRequest as error:
                raise InvalidRequest(f"{name}_{end}: {error}") from None
            low, high = _range(metric)
            if not low <= limit <= high:
                raise InvalidRequest(f"{name}_{end} must be between {low:g} and {high:g}, got {limit!r}")
    if gates.enable_bias_check and not spec.task.classifies:
        raise InvalidRequest(f"enable_bias_check is for classifiers, {spec.model_id} is a {spec.task}")


def _range(metric: Metric) -> tuple[float, float]:
    if metric.name == "r2":
        return -math.inf, 1.0
    return 0.0, 1.0 if metric.bounded else math.inf


def criterion_of(command: OptimizeModel) -> Criterion:
    """A filter where shadow judges after the gate, a proof where the gate decides alone."""
    goes_to_shadow = command.action in (Action.SHADOW, Action.FULL) and command.rollout.get("shadow", True)
    return Criterion.FILTER if goes_to_shadow else Criterion.PROOF


async def spend_look_and_judge(
    store: Store, look: HoldoutLook, criterion: Criterion, judge: Callable[[float, int], GateReport]
) -> GateReport:
    """Counts the look, then makes it: `judge` is called in a thread with the alpha and the number of this look.

    A filter spends nothing, and has the whole alpha. A look that a crash or an error cuts short is counted and has no
    verdict.
    """
    proves = criterion is Criterion.PROOF
    look = await record_look(store, look, spends=proves)
    report = await asyncio.to_thread(judge, look.alpha_spent if proves else look.alpha, look.number)
    await store.settle_look(look.ledger, look.number, report.verdict)
    return report


def judge_gates(
    gates: Gates,
    candidate: CandidateBundle,
    champion: Baseline | None,
    test: HoldoutTest,
    *,
    why_no_champion: str | None = None,
    loader: Loader | None = None,
    look: int | None = None,
) -> GateReport:
    """Every gate that was asked for, on the holdout; intervals at confidence `1 - test.alpha`, the part of this look.

    `champion` is None where there is none, or where it cannot be compared and `why_no_champion` is the reason: then no
    candidate is promoted past it. With a `loader`, a candidate that has a version is loaded in a process of its own.
    An exception is an error of its gate; only gates that do not fit the model are refused, see `check_gates`.
    """
    prepared = test.prepared
    check_gates(gates, prepared.spec)
    results = [
        *judge_bundle(gates, candidate, prepared, loader),
        *holdout_gates(gates, candidate.prediction, champion, test, why_no_champion),
    ]
    return GateReport(tuple(results), verdict_of(results), len(prepared.holdout), test.alpha, look)


def holdout_gates(
    gates: Gates,
    prediction: Prediction,
    champion: Baseline | None,
    test: HoldoutTest,
    why_no_champion: str | None = None,
) -> list[GateResult]:
    """The gates that are computed from predictions on the holdout: the same each time, for the same rows and seed."""
    results = [
        _judge_samples(gates, test.prepared),
        *_judge_limits(gates, prediction, test),
        *judge_bias(gates, prediction, test.prepared),
    ]
    if test.prepared.spec.intervals:
        results.append(guarded_gate(COVERAGE, lambda: judge_coverage(gates, prediction, test.prepared)))
    if gates.beats_constant:
        results.append(guarded_gate(CONSTANT, lambda: _judge_skill(prediction, test)))
    if gates.beats_champion is not False:
        results.append(
            guarded_gate(CHAMPION, lambda: _judge_improvement(gates, prediction, champion, why_no_champion, test))
        )
    return [*results, *_judge_anchor(gates, prediction, champion, test)]


def _judge_anchor(
    gates: Gates, prediction: Prediction, champion: Baseline | None, test: HoldoutTest
) -> list[GateResult]:
    """The gain on the best champion so far, where the champion has one beside it."""
    anchor = None if champion is None else champion.anchor
    if anchor is not None:
        return [guarded_gate(ANCHOR, lambda: _judge_gain(ANCHOR, gates, prediction, anchor, test))]
    return [unmeasured_anchor(champion.why_no_anchor)] if champion is not None and champion.why_no_anchor else []


def _judge_samples(gates: Gates, prepared: PreparedRows) -> GateResult:
    rows, least = len(prepared.holdout), gates.min_validation_samples
    return judge_number(SAMPLES, rows, least, False, f"{rows:,} rows of holdout; it had to be at least {least:,}")


def _judge_limits(gates: Gates, prediction: Prediction, test: HoldoutTest) -> list[GateResult]:
    """Each limit of a metric, on resamples that are drawn once."""
    names = sorted({*gates.metrics_min, *gates.metrics_max})
    if not names:
        return []
    prepared = test.prepared
    metrics = [metric_named(name, prepared.spec.task) for name in names]
    scores = [(metric.score, metric.resampled) for metric in metrics]
    y, base_alpha = prepared.holdout.y, resampled_alpha(test.alpha)
    results = []
    try:
        intervals = bootstrap_intervals(scores, y, prediction, base_alpha, test.resampling)
    except (InvalidData, ValueError) as error:
        intervals = [InvalidData(str(error))] * len(names)
    for name, interval in zip(names, intervals, strict=True):
        for end, limits in (("min", gates.metrics_min), ("max", gates.metrics_max)):
            if name not in limits:
                continue
            if isinstance(interval, InvalidData):
                reason = f"it could not be judged: {interval}"
                results.append(GateResult(f"{name}_{end}", Verdict.ERROR, None, limits[name], reason))
            else:
                wide = widen_interval(interval, test.alpha)
                rows = len(prepared.holdout)
                results.append(judge_limit(f"{name}_{end}", wide, limits[name], end == "max", gates.strict, rows))
    return results


def _judge_skill(prediction: Prediction, test: HoldoutTest) -> GateResult:
    """Passes where the candidate is better than one constant answer, by a metric that shows skill."""
    prepared, spec = test.prepared, test.prepared.spec
    metric_names = _SKILL if spec.class_weight == "none" else _WEIGHTED_SKILL
    name = spec.metric if quantile_of(spec.metric) is not None else metric_names.get(spec.task, "rmse")
    metric = metric_named(name, spec.task)
    constant = Baseline(CONSTANT, constant_prediction(prepared))
    skill_test = replace(test, metric=metric, alpha=resampled_alpha(test.alpha))
    comparison = compare_on_holdout(prediction, constant, skill_test)
    return judge_skill(CONSTANT, widen_interval(comparison.improvement, test.alpha), metric.name, len(prepared.holdout))


def _judge_improvement(
    gates: Gates, prediction: Prediction, champion: Baseline | None, why_none: str | None, test: HoldoutTest
) -> GateResult:
    if champion is None and why_none:
        return GateResult(CHAMPION, Verdict.INCONCLUSIVE, None, None, why_none)
    if champion is None:
        return GateResult(CHAMPION, Verdict.PASS, None, None, "there is no champion to compare with")
    if test.criterion is Criterion.TWO_SIDED:
        comparison = compare_on_holdout(prediction, champion, replace(test, alpha=resampled_alpha(test.alpha)))
        improvement = widen_interval(comparison.improvement, test.alpha)
        score = comparison.baseline.estimate
        return judge_improvement(CHAMPION, improvement, score, gates, champion.name, test.metric.name, comparison.rows)
    return _judge_gain(CHAMPION, gates, prediction, champion, test)


def _judge_gain(name: str, gates: Gates, prediction: Prediction, against: Baseline, test: HoldoutTest) -> GateResult:
    """The result of the candidate's gain, with one-sided bounds at `test.alpha`; that of a filter is at its own."""
    resampled_test = replace(test, alpha=resampled_for(test.criterion, test.alpha))
    comparison = compare_on_holdout(prediction, against, resampled_test)
    return judge_gain(name, gain_of(gates, comparison, test), gates, test.criterion)


def gain_of(gates: Gates, comparison: Comparison, test: HoldoutTest) -> MeasuredGain:
    """The gain that a comparison measured at the alpha of `resampled_for`."""
    least_alpha = FILTER_ALPHA if test.criterion is Criterion.FILTER else test.alpha
    freedom = degrees_of_freedom(test.prepared, comparison.rows)
    interval, deciding = (
        widen_interval(comparison.improvement, 2 * alpha, freedom) for alpha in (test.alpha, least_alpha)
    )
    score = comparison.baseline.estimate
    return MeasuredGain(
        interval=interval,
        least=deciding.low,
        least_alpha=least_alpha,
        corrected=corrected_gain(deciding, required_gain(gates, score)),
        against=comparison.baseline_name,
        score=score,
        metric=test.metric.name,
        rows=comparison.rows,
    )


def resampled_for(criterion: Criterion, alpha: float) -> float:
    """The alpha to resample at: both sides of the loosest bound that is needed."""
    return 2 * FILTER_ALPHA if criterion is Criterion.FILTER else max(2 * alpha, _RESAMPLED)
