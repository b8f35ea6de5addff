"""Analyze: what a version was asked and answered in a window, held against its reference. Pure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from optagent.analysis.binned_counts import BinCounter
from optagent.analysis.concept_drift import concept_drift
from optagent.analysis.confidence import confidence
from optagent.analysis.diagnosis import diagnose
from optagent.analysis.domain_classifier import separability
from optagent.analysis.drift import drift_report
from optagent.analysis.estimated_performance import estimated_performance, matured
from optagent.analysis.evidence import (
    calibration_noise,
    column_facts,
    constant_labels,
    constant_predictions,
    degraded_metrics,
    drifted_importance,
    estimated_drop,
    loss_growth,
    loss_rises,
    uncompared,
    unusable_share,
)
from optagent.analysis.expression import Column, answer_columns, compile_expression
from optagent.analysis.findings import findings_of
from optagent.analysis.importance_drift import attribution_shift
from optagent.analysis.latency import LatencySketch
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import (
    Mean,
    as_outcome,
    by_slice,
    degradations,
    metric_values,
    over_time,
    windows_of_rows,
)
from optagent.analysis.profile import Profile
from optagent.codec import decode
from optagent.domain.diagnosis import DiagnosisFacts
from optagent.domain.drift import DriftReport, DriftStatus, SeparabilityReport
from optagent.domain.model_report import Business, ModelReport, ReferenceSummary
from optagent.domain.monitoring import AnalysisType, Window
from optagent.domain.performance import (
    AttributionShift,
    Degradation,
    EstimatedPerformance,
    ModelConfidence,
    Performance,
)
from optagent.domain.quality import RowProblem
from optagent.errors import InvalidData
from optagent.loop.observe.inputs import AnalysisInputs
from optagent.loop.observe.reference import Reference
from optagent.loop.observe.reference_statistics import reference_certainty, reference_estimator, reference_metrics
from optagent.training.contributions import contributions
from optagent.training.live_rows import model_matrix
from optagent.training.metrics import metric_named, monitored_metrics

_MOST_LEVEL = 0.05
_BUCKETS = 24  # of a window: how much rows repeat each other is measured between them
_POINTS = 12
_MOST_POINTS = 60


def analyze(gathered: AnalysisInputs) -> ModelReport:
    """The report; pure. Parts for which there are too few rows say so themselves."""
    wants, rows, reference = gathered.command.wants, gathered.rows, gathered.reference
    unknown = sorted(set(gathered.monitoring.slices) - set(reference.schema.names))
    notes = [*gathered.notes, *(f"slices: {name!r} is no feature of version {reference.version}" for name in unknown)]
    drift = _drift(gathered) if wants(AnalysisType.DRIFT) or wants(AnalysisType.PERFORMANCE) else None
    performance = _performance(gathered) if wants(AnalysisType.PERFORMANCE) else None
    estimated = _estimated(gathered, notes) if wants(AnalysisType.PERFORMANCE) else None
    concept = None
    if wants(AnalysisType.PERFORMANCE):
        every = gathered.monitoring.false_alarm_every_s
        concept = concept_drift(reference.observed, rows, every, gathered.command.seed)
    report = ModelReport(
        model_id=gathered.spec.model_id,
        version=reference.version,
        analysis_type=AnalysisType(gathered.command.analysis_type),
        window=gathered.window,
        created_at=gathered.now,
        quality=gathered.quality,
        reference=_summary(gathered),
        drift=drift if wants(AnalysisType.DRIFT) else None,
        separability=_separability(gathered),
        performance=performance,
        estimated=estimated,
        concept_drift=concept,
        attribution=_attribution(gathered, notes) if wants(AnalysisType.IMPORTANCE) else None,
        confidence=_confidence(gathered) if wants(AnalysisType.CONFIDENCE) else None,
        latency=LatencySketch.of(rows.latency_ms).summary() if wants(AnalysisType.PERFORMANCE) else None,
        business=_business(gathered) if wants(AnalysisType.PERFORMANCE) else None,
        metrics=_values(performance),
    )
    diagnosis = None if drift is None else diagnose(_evidence(gathered, report, drift))
    report = replace(report, diagnosis=diagnosis, notes=tuple(notes))
    return replace(report, findings=findings_of(report, gathered.monitoring))


def _summary(gathered: AnalysisInputs) -> ReferenceSummary:
    reference = gathered.reference
    window = None if gathered.spec.rows_in_time_order else reference.window  # those times are numbers of rows
    return ReferenceSummary(reference.rows, int(reference.observed.has_label.sum()), window, reference.digest)


def _drift(gathered: AnalysisInputs) -> DriftReport:
    """Of the newer half of a window that is long enough for two, confirmed by the older; otherwise of the window, and
    the one before."""
    window, before, rows = gathered.window, gathered.window.before, gathered.before
    level = min(_MOST_LEVEL, gathered.monitoring.window_s / gathered.monitoring.false_alarm_every_s)
    if window.length_s >= 2 * gathered.monitoring.window_s:
        before, window = window.parts(2)
        rows = gathered.rows
    profile = decode(Profile, gathered.reference.profile)
    folder = BinCounter(profile, window.length_s / _BUCKETS)
    now, then = folder.fold(gathered.rows.within(window)), folder.fold(rows.within(before))
    return drift_report(profile, now, then, gathered.reference.importance, level)


def _separability(gathered: AnalysisInputs) -> SeparabilityReport | None:
    if not gathered.command.separability:
        return None
    return separability(gathered.reference.observed, gathered.rows, gathered.command.seed)


def _performance(gathered: AnalysisInputs) -> Performance:
    rows, measures = gathered.rows, monitored_metrics(gathered.spec.task)
    main = metric_named(gathered.spec.metric, gathered.spec.task)
    current = metric_values(rows, measures)
    then = reference_metrics(gathered.reference.observed, gathered.spec.task)
    return Performance(
        rows=len(rows),
        labelled=int(rows.has_label.sum()),
        metrics=current,
        over_time=over_time(rows, _points(gathered), (main,)),
        slices=by_slice(rows, main, _slices(gathered)),
        degradation=degradations(then, current, gathered.monitoring.accuracy_drop_threshold, {main.name, "accuracy"}),
    )


def _points(gathered: AnalysisInputs) -> Sequence[Window]:
    """The parts of a window to plot: the latest of so many rows, if asked for; its performance windows, if there are a
    few; otherwise twelve."""
    if gathered.monitoring.performance_window_rows is not None:
        return windows_of_rows(gathered.rows, gathered.monitoring.performance_window_rows)[-_MOST_POINTS:]
    count = round(gathered.window.length_s / gathered.monitoring.window_s)
    return gathered.window.parts(count if 4 <= count <= _MOST_POINTS else _POINTS)


def _estimated(gathered: AnalysisInputs, notes: list[str]) -> EstimatedPerformance | None:
    """The estimate of the window, checked on its own parts, and on the window before, where labels are known."""
    task, seed = gathered.spec.task, gathered.command.seed
    try:
        fitted = reference_estimator(gathered.reference.observed, seed)
    except InvalidData as error:
        notes.append(f"no estimated performance: {error}")
        return None
    measures = monitored_metrics(task)
    parts = [gathered.rows.within(part) for part in gathered.window.parts(_POINTS)]
    past = [gathered.before.within(part) for part in gathered.window.before.parts(_POINTS)]
    history = matured(fitted, [*past, *parts], measures)
    return estimated_performance(fitted, gathered.rows, measures, history=history)


def _attribution(gathered: AnalysisInputs, notes: list[str]) -> AttributionShift | None:
    if gathered.predictor is None or not len(gathered.rows):
        notes.append("no importance: " + ("no rows" if gathered.predictor else "the model itself is not known here"))
        return None
    predictor, rows = gathered.predictor, gathered.rows
    metric = metric_named("", gathered.spec.task)
    x = model_matrix(rows.x, predictor.schema)
    now = contributions(predictor.model, x, rows.y, metric, gathered.command.seed)
    then = np.array([gathered.reference.importance.get(name, 0.0) for name in predictor.schema.names])
    return attribution_shift(predictor.schema.names, then, now)


def _confidence(gathered: AnalysisInputs) -> ModelConfidence | None:
    if not gathered.spec.task.classifies:
        return None
    error = metric_named("calibration_error", gathered.spec.task)
    threshold = gathered.monitoring.confidence_threshold
    then = reference_certainty(gathered.reference.observed, threshold)
    return confidence(gathered.rows, then, threshold, error, _slices(gathered))


def _slices(gathered: AnalysisInputs) -> tuple[str, ...]:
    """Those of the columns to slice by that this version knows."""
    return tuple(name for name in gathered.monitoring.slices if name in gathered.reference.schema.names)


def _business(gathered: AnalysisInputs) -> Business | None:
    """The user's own metrics now, against the window before: a reference knows nothing of outcomes."""
    if not gathered.monitoring.business:
        return None
    falls: list[Degradation] = []
    points = []
    for name, text in gathered.monitoring.business.items():
        measure, expression = Mean(name), compile_expression(text)
        now, then = (
            as_outcome(part, expression(_columns(part, gathered.reference, expression.names)))
            for part in (gathered.rows, gathered.before)
        )
        threshold = gathered.monitoring.accuracy_drop_threshold
        falls += degradations(metric_values(then, (measure,)), metric_values(now, (measure,)), threshold)
        points.append(over_time(now, _points(gathered), (measure,)))
    together = tuple(
        replace(same[0], metrics=tuple(value for point in same for value in point.metrics))
        for same in zip(*points, strict=True)
    )
    return Business(tuple(falls), together)


def _columns(rows: ObservedRows, reference: Reference, names: Sequence[str]) -> dict[str, Column]:
    """The columns that an expression may read; an outcome that no label had is not known."""
    found: dict[str, Column] = {name: np.full(len(rows), np.nan) for name in names}
    found |= {column.name: rows.x[:, place].astype(np.float64) for place, column in enumerate(rows.columns)}
    found |= rows.outcome
    return found | answer_columns(rows.task, reference.schema.classes, rows.prediction, rows.y)


def _evidence(gathered: AnalysisInputs, report: ModelReport, drift: DriftReport) -> DiagnosisFacts:
    rows, reference, quality = gathered.rows, gathered.reference.observed, gathered.quality
    falls = report.performance.degradation if report.performance else ()
    metric = metric_named(gathered.spec.metric, gathered.spec.task).name
    degraded = sorted(degraded_metrics(falls), key=lambda one: one.name != metric)
    named = {one.name: one for one in falls}
    due = gathered.labels_due
    rise, expected = loss_rises(drift, reference, rows)
    calibration, auc = named.get("calibration_error"), named.get("auc")
    return DiagnosisFacts(
        rows=len(rows),
        labelled=int(rows.has_label.sum()),
        columns=column_facts(drift, reference, rows),
        drifted_importance=drifted_importance(drift),
        prediction_drift=drift.prediction_status is DriftStatus.DRIFTED,
        degraded=tuple(degraded),
        concept_drift=bool(report.concept_drift and report.concept_drift.detected),
        excess_loss=loss_growth(report.concept_drift),
        loss_rise=rise,
        expected_rise=expected,
        estimated_drop=estimated_drop(report.estimated, falls, degraded[0].name if degraded else metric),
        estimate_trusted=bool(report.estimated and report.estimated.trusted),
        labels_due=due,
        due_labelled=int(rows.has_label[:due].sum()) if due else 0,
        due_since_label=int((~rows.has_label[:due])[::-1].cumprod().sum()) if due else 0,
        calibration_error_then=calibration.reference.value if calibration else None,
        calibration_error_now=calibration.current.value if calibration else None,
        calibration_noise=calibration_noise(calibration.current.interval) if calibration else 0.0,
        auc_kept=None if auc is None or auc.drop is None else auc.drop.low <= 0,
        unusable_predictions=unusable_share(quality, RowProblem.UNUSABLE_PREDICTION, len(rows)),
        unusable_labels=unusable_share(quality, RowProblem.UNUSABLE_LABEL, quality.labelled),
        constant_predictions=constant_predictions(reference, rows),
        constant_labels=constant_labels(reference, rows),
        judged=report.performance is not None,
        uncompared=uncompared(falls),
        tried=gathered.tried,
    )


def _values(performance: Performance | None) -> dict[str, float]:
    """The metrics that are known, by name."""
    known = performance.metrics if performance else ()
    return {metric.name: metric.value for metric in known if metric.value is not None}
