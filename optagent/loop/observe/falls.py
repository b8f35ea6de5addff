"""Falls of a window against the reference, each judged at the risk that `false_alarm_every` allows for its trigger."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from optagent.analysis.concept_drift import row_losses
from optagent.analysis.confidence import top_probability
from optagent.analysis.fall_test import NOT_WIDER, RowSpread, Widening, alarm_level, at_level, values_at_level, widening
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import (
    Mean,
    as_outcome,
    degradations,
    difference,
    metric_values,
    predicted_rows,
    scorable_rows,
)
from optagent.arrays import Vector
from optagent.domain.model import ModelSpec
from optagent.domain.monitoring import Monitoring
from optagent.domain.performance import Degradation, MetricValue
from optagent.domain.study import Interval
from optagent.errors import InvalidData
from optagent.loop.observe.reference import Reference, baseline_of_reference
from optagent.loop.observe.reference_statistics import reference_metrics
from optagent.sequential.batch_means import design_effects
from optagent.training.metrics import metric_named

_ROUNDING = 1e-9
_CACHE_SIZE = 8  # references of models that are analyzed in turn


def watched_names(spec: ModelSpec) -> frozenset[str]:
    """The names of the metrics whose fall alarms: the model's own, and a classifier's accuracy."""
    accuracy = {"accuracy"} if spec.task.classifies else set()
    return frozenset({metric_named(spec.metric, spec.task).name, *accuracy})


def performance_level(spec: ModelSpec, monitoring: Monitoring) -> float:
    """The risk of one metric in one window: all that can raise an alarm of performance share one rate."""
    tests = len(watched_names(spec)) + len(monitoring.business)
    return alarm_level(monitoring.window_s, monitoring.false_alarm_every_s, tests)


def falls_since_reference(
    rows: ObservedRows, current: Sequence[MetricValue], reference: Reference, spec: ModelSpec, monitoring: Monitoring
) -> tuple[Degradation, ...]:
    """The falls of the metrics of `rows`, which `current` are; the watched ones with the intervals that alarms need."""
    level, watched = performance_level(spec, monitoring), watched_names(spec)
    then, baseline = reference_metrics(reference.observed, spec.task, spec.metric), baseline_of_reference(reference)
    wide_then = wide_now = NOT_WIDER
    if baseline is not None:
        wide_then = _reference_widening(reference)
        wide_now = widening(row_losses(rows.where(scorable_rows(rows)), baseline.unit), baseline.rows)
    alarming_then = values_at_level([value for value in then if value.name in watched], level, wide_then)
    alarming_now = {
        value.name: value
        for value in values_at_level([value for value in current if value.name in watched], level, wide_now)
    }
    others = [value for value in then if value.name not in watched]
    now = [alarming_now.get(value.name, value) for value in current]
    return degradations([*alarming_then, *others], now, monitoring.accuracy_drop_threshold, watched)


def may_have_fallen(rows: ObservedRows, reference: Reference, spec: ModelSpec, monitoring: Monitoring) -> bool:
    """False where no watched metric of the rows is worse by its threshold, whatever the intervals are, so that
    `falls_since_reference` finds no fall."""
    usable, watched = scorable_rows(rows), watched_names(spec)
    y, prediction = rows.y[usable], rows.prediction[usable]
    for then in reference_metrics(reference.observed, spec.task, spec.metric):
        if then.name not in watched or then.interval is None:
            continue
        try:
            now = metric_named(then.name, spec.task).score(y, prediction)
        except InvalidData:
            continue
        drop = (then.interval.estimate - now) * (1.0 if then.maximize else -1.0)
        if not drop < monitoring.accuracy_drop_threshold * _scale_of(then):
            return True
    return False


def _scale_of(then: MetricValue) -> float:
    """The drop of a metric that counts as a whole one, and a trace less for rounding."""
    assert then.interval is not None
    return (1.0 if then.bounded else abs(then.interval.estimate)) * (1 - _ROUNDING)


def falls_since_before(
    before: Sequence[MetricValue], current: Sequence[MetricValue], spec: ModelSpec, monitoring: Monitoring
) -> tuple[Degradation, ...]:
    """The falls of business metrics since the window before, with the intervals that alarms need."""
    level = performance_level(spec, monitoring)
    then, now = values_at_level(before, level), values_at_level(current, level)
    return degradations(then, now, monitoring.accuracy_drop_threshold)


def uncertain_rise(rows: ObservedRows, reference: Reference, monitoring: Monitoring) -> Interval | None:
    """The rise of the share of predictions below the confidence threshold since the reference; None without rows."""
    threshold = monitoring.confidence_threshold
    level = alarm_level(monitoring.window_s, monitoring.false_alarm_every_s, 1)
    then, spread, wide_then = _reference_uncertainty(reference, threshold)
    unsure = _unsure(rows, threshold)
    now = _share_of(rows, unsure)
    if now.interval is None or then.interval is None:
        return None
    return difference(
        at_level(now.interval, now.rows, level, widening(unsure, spread)),
        at_level(then.interval, then.rows, level, wide_then),
    )


@lru_cache(maxsize=_CACHE_SIZE)
def _reference_widening(reference: Reference) -> Widening:
    baseline = baseline_of_reference(reference)
    assert baseline is not None
    observed = reference.observed
    losses = row_losses(observed.where(scorable_rows(observed)), baseline.unit)
    return widening(losses, baseline.rows, round(len(losses) * reference.rows / len(observed)))


@lru_cache(maxsize=_CACHE_SIZE)
def _reference_uncertainty(reference: Reference, threshold: float) -> tuple[MetricValue, RowSpread, Widening]:
    """The share of uncertain predictions of the reference, the spread of the rows, and the widening of its interval."""
    unsure = _unsure(reference.observed, threshold)
    every = reference.rows / len(reference.observed)
    effects = design_effects(unsure)
    spread = RowSpread(float(unsure.std()) if len(unsure) else 0.0, effects.thin(every) if every > 1 else effects)
    return _share_of(reference.observed, unsure), spread, widening(unsure, spread, reference.rows)


def _unsure(rows: ObservedRows, threshold: float) -> Vector:
    """(rows with a prediction,) 1 where the most probable class is below the threshold, otherwise 0."""
    usable = rows.where(predicted_rows(rows))
    return np.asarray(top_probability(usable.prediction) < threshold, dtype=np.float64)


def _share_of(rows: ObservedRows, unsure: Vector) -> MetricValue:
    outcome = as_outcome(rows.where(predicted_rows(rows)), unsure)
    return metric_values(outcome, (Mean("uncertain", maximize=False, bounded=True),))[0]
