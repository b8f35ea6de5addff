"""Gate: whether a trained candidate may meet traffic, by all that was asked of it and every look at the holdout."""

import asyncio
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from optagent.analysis.bootstrap import Resampling, bootstrap_intervals
from optagent.arrays import Prediction
from optagent.domain.gate import (
    GateReport,
    GateResult,
    Gates,
    Verdict,
    gates_from,
    judged_improvement,
    judged_limit,
    judged_number,
    judged_skill,
    verdict_of,
)
from optagent.domain.ledger import HoldoutLook
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.loop.gates.bias import judge_bias
from optagent.loop.gates.bundle import CandidateBundle, judge_bundle, tried
from optagent.loop.train.holdout import Baseline, compare
from optagent.loop.train.prepare import PreparedRows
from optagent.ports import Loader, Store
from optagent.sequential.holdout_ledger import alpha_of_look, resampled_alpha, widened
from optagent.training.metrics import Metric, metric_named

SAMPLES, CHAMPION, CONSTANT = "validation samples", "champion", "constant"
_SKILL = {Task.BINARY: "log_loss", Task.MULTICLASS: "log_loss", Task.REGRESSION: "rmse"}
_WEIGHTED_SKILL = {Task.BINARY: "auc", Task.MULTICLASS: "balanced_accuracy"}  # weights bend the probabilities


def gates_for(data: Mapping[str, Any], spec: ModelSpec) -> Gates:
    """Gates as a user writes them, for a model; InvalidRequest for those that it cannot be judged by."""
    gates = gates_from(data)
    check_gates(gates, spec)
    return gates


def check_gates(gates: Gates, spec: ModelSpec) -> None:
    """Refuses limits of metrics that the task does not have, or that no model can fail or reach."""
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


def holdout_digest(prepared: PreparedRows) -> str:
    """SHA-256 of whose holdout it is, its targets and their times: the same for any features, encoding or plan.

    A holdout with one row more is another one, with looks of its own, however much of it was looked at before.
    """
    found = hashlib.sha256(f"{prepared.spec.model_id}\n{prepared.spec.target}\n".encode())
    found.update(np.ascontiguousarray(prepared.holdout.y).data)
    if prepared.holdout_time is not None:
        found.update(np.ascontiguousarray(prepared.holdout_time, dtype=np.float64).data)
    return found.hexdigest()


def look_at(prepared: PreparedRows, candidate: str, process_id: str, at: float, alpha: float) -> HoldoutLook:
    """The look at this holdout that is to be written; `alpha` is the risk of all looks at it together."""
    return HoldoutLook(holdout_digest(prepared), candidate, process_id, at, alpha)


async def judged(store: Store, look: HoldoutLook, judge: Callable[[float, int], GateReport]) -> GateReport:
    """Counts the look, then makes it: `judge` is called in a thread with the alpha that this look may take, and which
    it is. What ends in between, by a crash or an error, is counted and has no verdict.
    """
    number = await store.spend_look(look.holdout, look)
    report = await asyncio.to_thread(judge, alpha_of_look(look.alpha, number), number)
    await store.settle_look(look.holdout, number, report.verdict)
    return report


def judge_gates(
    gates: Gates,
    candidate: CandidateBundle,
    champion: Baseline | None,
    prepared: PreparedRows,
    metric: Metric,
    alpha: float,
    seed: int,
    *,
    why_no_champion: str | None = None,
    loader: Loader | None = None,
    look: int | None = None,
) -> GateReport:
    """Every gate that was asked for, on the holdout; intervals at confidence `1 - alpha`, the part of this look.

    `champion` is None where there is none, or where it cannot be compared with and `why_no_champion` says why: then
    nothing is promoted past it. With a `loader`, a candidate that has a version is loaded in a process of its own.
    What goes wrong is an error of its gate; only gates that do not fit the model are refused, see `check_gates`.
    """
    check_gates(gates, prepared.spec)
    results = [
        *judge_bundle(gates, candidate, prepared, loader),
        *computed(gates, candidate.prediction, champion, prepared, metric, alpha, seed, why_no_champion),
    ]
    return GateReport(tuple(results), verdict_of(results), len(prepared.holdout), alpha, look)


def computed(
    gates: Gates,
    prediction: Prediction,
    champion: Baseline | None,
    prepared: PreparedRows,
    metric: Metric,
    alpha: float,
    seed: int,
    why_no_champion: str | None = None,
) -> list[GateResult]:
    """The gates that are computed of what is said of the holdout: the same each time, for the same rows and seed."""
    results = [
        _samples(gates, prepared),
        *_limits(gates, prediction, prepared, alpha, seed),
        *judge_bias(gates, prediction, prepared),
    ]
    if gates.beats_constant:
        results.append(tried(CONSTANT, lambda: _skilled(prediction, prepared, alpha, seed)))
    if gates.beats_champion is not False:
        results.append(
            tried(
                CHAMPION,
                lambda: _beats(gates, prediction, champion, why_no_champion, prepared, metric, alpha, seed),
            )
        )
    return results


def _samples(gates: Gates, prepared: PreparedRows) -> GateResult:
    rows, least = len(prepared.holdout), gates.min_validation_samples
    return judged_number(SAMPLES, rows, least, False, f"{rows:,} rows of holdout; it had to be at least {least:,}")


def _limits(gates: Gates, prediction: Prediction, prepared: PreparedRows, alpha: float, seed: int) -> list[GateResult]:
    """Each limit of a metric, on resamples that are drawn once."""
    names = sorted({*gates.metrics_min, *gates.metrics_max})
    if not names:
        return []
    metrics = [metric_named(name, prepared.spec.task) for name in names]
    scores = [(metric.score, metric.resampled) for metric in metrics]
    y, time, base = prepared.holdout.y, prepared.holdout_time, resampled_alpha(alpha)
    how = Resampling(seed=seed, time_ordered=time is not None, groups=time)
    results = []
    try:
        found = bootstrap_intervals(scores, y, prediction, base, how)
    except (InvalidData, ValueError) as error:
        found = [InvalidData(str(error))] * len(names)
    for name, interval in zip(names, found, strict=True):
        for end, limits in (("min", gates.metrics_min), ("max", gates.metrics_max)):
            if name not in limits:
                continue
            if isinstance(interval, InvalidData):
                reason = f"it could not be judged: {interval}"
                results.append(GateResult(f"{name}_{end}", Verdict.ERROR, None, limits[name], reason))
            else:
                wide = widened(interval, alpha)
                rows = len(prepared.holdout)
                results.append(judged_limit(f"{name}_{end}", wide, limits[name], end == "max", gates.strict, rows))
    return results


def _skilled(prediction: Prediction, prepared: PreparedRows, alpha: float, seed: int) -> GateResult:
    spec = prepared.spec
    by = _SKILL if spec.class_weight == "none" else _WEIGHTED_SKILL
    metric = metric_named(by.get(spec.task, "rmse"), spec.task)
    constant = np.broadcast_to(_constant(prepared), prediction.shape)
    found = compare(prediction, Baseline(CONSTANT, constant), prepared, metric, resampled_alpha(alpha), seed)
    return judged_skill(CONSTANT, widened(found.improvement, alpha), metric.name, len(prepared.holdout))


def _constant(prepared: PreparedRows) -> Prediction:
    """What is best said to every row without looking at it: the shares of the classes, or the mean."""
    y = prepared.problem.data.y
    if prepared.spec.task is not Task.MULTICLASS:
        return np.asarray(y.mean())
    return np.bincount(y.astype(np.int64), minlength=len(prepared.schema.classes)) / len(y)


def _beats(
    gates: Gates,
    prediction: Prediction,
    champion: Baseline | None,
    why_none: str | None,
    prepared: PreparedRows,
    metric: Metric,
    alpha: float,
    seed: int,
) -> GateResult:
    if champion is None and why_none:
        return GateResult(CHAMPION, Verdict.INCONCLUSIVE, None, None, why_none)
    if champion is None:
        return GateResult(CHAMPION, Verdict.PASS, None, None, "there is no champion to compare with")
    found = compare(prediction, champion, prepared, metric, resampled_alpha(alpha), seed)
    better = widened(found.improvement, alpha)
    rows = len(prepared.holdout)
    return judged_improvement(CHAMPION, better, found.baseline.estimate, gates, champion.name, metric.name, rows)
