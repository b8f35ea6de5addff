"""Analysis of a window, without side effects: the recorded requests and predictions of a version against its
reference."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from optagent.analysis.binned_counts import BinCounter
from optagent.analysis.concept_drift import concept_drift
from optagent.analysis.confidence import confidence, is_less_certain, uncertainty
from optagent.analysis.diagnosis import diagnose
from optagent.analysis.domain_classifier import separability
from optagent.analysis.drift import report_drift
from optagent.analysis.estimated_performance import estimate_history, estimated_performance
from optagent.analysis.evidence import (
    calibration_noise,
    column_facts,
    constant_labels,
    constant_predictions,
    degraded_metrics,
    drifted_importance,
    estimated_drop,
    incomparable_reason,
    loss_growth,
    loss_rises,
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
    metric_values,
    metrics_over_time,
    windows_of_rows,
)
from optagent.analysis.profile import Profile
from optagent.analysis.whole_windows import LiveWindows
from optagent.codec import decode
from optagent.domain.concept_drift import ConceptDrift
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
from optagent.loop.observe.falls import falls_since_before, uncertain_rise
from optagent.loop.observe.inputs import AnalysisInputs
from optagent.loop.observe.realised import realised_performance
from optagent.loop.observe.reference import Reference, baseline_of_reference
from optagent.loop.observe.reference_statistics import reference_certainty, reference_estimator
from optagent.training.contributions import contributions
from optagent.training.live_rows import model_matrix
from optagent.training.metrics import metric_named, monitored_metrics

_MAX_LEVEL = 0.05
_BUCKETS_PER_WINDOW = 24  # the correlation between rows is measured between these buckets
_POINTS = 12
_MOST_POINTS = 60


def analyze(inputs: AnalysisInputs) -> ModelReport:
    """The report on the inputs, without side effects. Parts with too few rows say so themselves.

    Where the inputs are for findings only, so is the report: what no finding depends on is left out of it, and its
    diagnosis tells a fault from all else, but not what to do about a loss.
    """
    wants, rows, reference = inputs.command.wants, inputs.rows, inputs.reference
    unknown = sorted(set(inputs.monitoring.slices) - set(reference.schema.names))
    notes = [*inputs.notes, *(f"slices: {name!r} is no feature of version {reference.version}" for name in unknown)]
    drift = _drift(inputs) if wants(AnalysisType.DRIFT) or wants(AnalysisType.PERFORMANCE) else None
    whole = not inputs.findings_only
    performance = _performance(inputs) if wants(AnalysisType.PERFORMANCE) else None
    estimated = _estimate_performance(inputs, notes) if whole and wants(AnalysisType.PERFORMANCE) else None
    concept = _concept_drift(inputs) if wants(AnalysisType.PERFORMANCE) else None
    report = ModelReport(
        model_id=inputs.spec.model_id,
        version=reference.version,
        analysis_type=AnalysisType(inputs.command.analysis_type),
        window=inputs.window,
        created_at=inputs.now,
        quality=inputs.quality,
        reference=_summary(inputs),
        drift=drift if wants(AnalysisType.DRIFT) else None,
        separability=_separability(inputs),
        performance=performance,
        estimated=estimated,
        concept_drift=concept,
        attribution=_attribution(inputs, notes) if whole and wants(AnalysisType.IMPORTANCE) else None,
        confidence=_confidence(inputs) if wants(AnalysisType.CONFIDENCE) else None,
        latency=LatencySketch.of(rows.latency_ms).summary() if wants(AnalysisType.PERFORMANCE) else None,
        business=_business(inputs) if wants(AnalysisType.PERFORMANCE) else None,
        labels=inputs.labels if wants(AnalysisType.PERFORMANCE) else None,
        metrics=_metrics_by_name(performance),
    )
    diagnosis = None if drift is None else diagnose(_diagnosis_facts(inputs, report, drift))
    report = replace(report, diagnosis=diagnosis, notes=tuple(notes))
    return replace(report, findings=findings_of(report, inputs.monitoring))


def _summary(inputs: AnalysisInputs) -> ReferenceSummary:
    reference = inputs.reference
    window = None if inputs.spec.rows_in_time_order else reference.window  # those times are numbers of rows
    return ReferenceSummary(reference.rows, int(reference.observed.has_label.sum()), window, reference.digest)


def _drift(inputs: AnalysisInputs) -> DriftReport:
    """Drift of the newer half of the window, confirmed by the older half, where the window is long enough for two;
    otherwise of the window, confirmed by those before."""
    window, before, rows, earlier = inputs.window, inputs.window.before, inputs.before, inputs.earlier
    level = min(_MAX_LEVEL, inputs.monitoring.window_s / inputs.monitoring.false_alarm_every_s)
    if window.length_s >= 2 * inputs.monitoring.window_s:
        before, window = window.parts(2)
        rows, earlier = inputs.rows, ()
    profile = decode(Profile, inputs.reference.profile)
    folder = BinCounter(profile, window.length_s / _BUCKETS_PER_WINDOW)
    parts = (inputs.rows.within(window), rows.within(before), *earlier)
    live = LiveWindows(tuple(folder.fold(part) for part in parts), window)
    return report_drift(profile, live, inputs.reference.importance, level)


def _separability(inputs: AnalysisInputs) -> SeparabilityReport | None:
    if not inputs.command.separability:
        return None
    return separability(inputs.reference.observed, inputs.rows, inputs.command.seed)


def _performance(inputs: AnalysisInputs) -> Performance:
    return realised_performance(inputs, _points(inputs), _slices(inputs))


def _concept_drift(inputs: AnalysisInputs) -> ConceptDrift:
    """The verdict of the running detector, where there is one, otherwise of one that begins with these rows."""
    reference, every_s = inputs.reference, inputs.monitoring.false_alarm_every_s
    if inputs.findings_only and inputs.concept is not None and not inputs.concept.is_detected:
        return inputs.concept
    fresh = concept_drift(
        reference.observed, inputs.matured_rows, every_s, inputs.command.seed, baseline=baseline_of_reference(reference)
    )
    running = inputs.concept
    if running is None:
        return fresh
    if running.excess is None:
        running = replace(running, excess=fresh.excess, direction=fresh.direction)
    return replace(running, loss=fresh.loss, adwin=fresh.adwin)


def _points(inputs: AnalysisInputs) -> Sequence[Window]:
    """The parts of a window to plot: the latest of a fixed number of rows, where that is configured; the performance
    windows, where there are 4 to 60; otherwise twelve equal parts."""
    if inputs.monitoring.performance_window_rows is not None:
        return windows_of_rows(inputs.rows, inputs.monitoring.performance_window_rows)[-_MOST_POINTS:]
    count = round(inputs.window.length_s / inputs.monitoring.window_s)
    return inputs.window.parts(count if 4 <= count <= _MOST_POINTS else _POINTS)


def _estimate_performance(inputs: AnalysisInputs, notes: list[str]) -> EstimatedPerformance | None:
    """The estimate of the window, checked where labels are known: on parts of the window and of the one before."""
    task, seed = inputs.spec.task, inputs.command.seed
    try:
        estimator = reference_estimator(inputs.reference.observed, seed)
    except InvalidData as error:
        notes.append(f"no estimated performance: {error}")
        return None
    measures = monitored_metrics(task)
    parts = [inputs.rows.within(part) for part in inputs.window.parts(_POINTS)]
    parts_before = [inputs.before.within(part) for part in inputs.window.before.parts(_POINTS)]
    history = estimate_history(estimator, [*parts_before, *parts], measures)
    return estimated_performance(estimator, inputs.rows, measures, history=history)


def _attribution(inputs: AnalysisInputs, notes: list[str]) -> AttributionShift | None:
    if inputs.predictor is None or not len(inputs.rows):
        notes.append("no importance: " + ("no rows" if inputs.predictor else "the model itself is not known here"))
        return None
    predictor, rows = inputs.predictor, inputs.rows
    metric = metric_named("", inputs.spec.task)
    x = model_matrix(rows.x, predictor.schema)
    now = contributions(predictor.model, x, rows.y, metric, inputs.command.seed)
    then = np.array([inputs.reference.importance.get(name, 0.0) for name in predictor.schema.names])
    return attribution_shift(predictor.schema.names, then, now)


def _confidence(inputs: AnalysisInputs) -> ModelConfidence | None:
    if not inputs.spec.task.classifies:
        return None
    error = metric_named("calibration_error", inputs.spec.task)
    threshold = inputs.monitoring.confidence_threshold
    then = reference_certainty(inputs.reference.observed, threshold)
    if inputs.findings_only:
        now = uncertainty(inputs.rows, threshold)
        sure = not is_less_certain(now, then)  # whatever the interval of the rise is
        rise = None if sure else uncertain_rise(inputs.rows, inputs.reference, inputs.monitoring)
        return ModelConfidence(threshold, now, then, rise=rise)
    judged = confidence(inputs.rows, then, threshold, error, _slices(inputs))
    rise = uncertain_rise(inputs.rows, inputs.reference, inputs.monitoring)
    return None if judged is None else replace(judged, rise=rise)


def _slices(inputs: AnalysisInputs) -> tuple[str, ...]:
    """The configured slice columns that are features of this version."""
    return tuple(name for name in inputs.monitoring.slices if name in inputs.reference.schema.names)


def _business(inputs: AnalysisInputs) -> Business | None:
    """The user's own metrics now, against the window before, since a reference has no outcomes."""
    if not inputs.monitoring.business:
        return None
    falls: list[Degradation] = []
    points = []
    for name, text in inputs.monitoring.business.items():
        measure, expression = Mean(name), compile_expression(text)
        now, then = (
            as_outcome(part, expression(_columns(part, inputs.reference, expression.names)))
            for part in (inputs.rows, inputs.before)
        )
        before, current = metric_values(then, (measure,)), metric_values(now, (measure,))
        falls += falls_since_before(before, current, inputs.spec, inputs.monitoring)
        points.append(metrics_over_time(now, _points(inputs), (measure,)))
    points_by_time = tuple(
        replace(same[0], metrics=tuple(value for point in same for value in point.metrics))
        for same in zip(*points, strict=True)
    )
    return Business(tuple(falls), points_by_time)


def _columns(rows: ObservedRows, reference: Reference, names: Sequence[str]) -> dict[str, Column]:
    """The columns that an expression may read; an outcome that no label had is NaN."""
    columns: dict[str, Column] = {name: np.full(len(rows), np.nan) for name in names}
    columns |= {column.name: rows.x[:, place].astype(np.float64) for place, column in enumerate(rows.columns)}
    columns |= rows.outcome
    return columns | answer_columns(rows.task, reference.schema.classes, rows.prediction, rows.y)


def _diagnosis_facts(inputs: AnalysisInputs, report: ModelReport, drift: DriftReport) -> DiagnosisFacts:
    rows, reference, quality = inputs.rows, inputs.reference.observed, inputs.quality
    falls = report.performance.degradation if report.performance else ()
    metric = metric_named(inputs.spec.metric, inputs.spec.task).name
    degraded = sorted(degraded_metrics(falls), key=lambda metric_change: metric_change.name != metric)
    changes = {metric_change.name: metric_change for metric_change in falls}
    labels_due = inputs.labels_due
    rise, expected = loss_rises(drift, reference, rows)
    calibration, auc = changes.get("calibration_error"), changes.get("auc")
    return DiagnosisFacts(
        rows=len(rows),
        labelled=int(rows.has_label.sum()),
        columns=column_facts(drift, reference, rows),
        drifted_importance=drifted_importance(drift),
        prediction_drift=drift.prediction_status is DriftStatus.DRIFTED,
        degraded=tuple(degraded),
        concept_drift=bool(report.concept_drift and report.concept_drift.is_detected),
        excess_loss=loss_growth(report.concept_drift),
        loss_rise=rise,
        expected_rise=expected,
        estimated_drop=estimated_drop(report.estimated, falls, degraded[0].name if degraded else metric),
        estimate_trusted=report.estimated.trusted if report.estimated else None,
        labels_due=labels_due,
        due_labelled=int(rows.has_label[:labels_due].sum()) if labels_due else 0,
        due_since_label=int((~rows.has_label[:labels_due])[::-1].cumprod().sum()) if labels_due else 0,
        calibration_error_then=calibration.reference.value if calibration else None,
        calibration_error_now=calibration.current.value if calibration else None,
        calibration_noise=calibration_noise(calibration.current.interval) if calibration else 0.0,
        auc_kept=None if auc is None or auc.drop is None else auc.drop.low <= 0,
        unusable_predictions=unusable_share(quality, RowProblem.UNUSABLE_PREDICTION, len(rows)),
        unusable_labels=unusable_share(quality, RowProblem.UNUSABLE_LABEL, quality.labelled),
        constant_predictions=constant_predictions(reference, rows),
        constant_labels=constant_labels(reference, rows),
        judged=report.performance is not None,
        uncompared=incomparable_reason(falls),
        tried=inputs.tried,
    )


def _metrics_by_name(performance: Performance | None) -> dict[str, float]:
    """The metrics that have a value, by name."""
    metrics = performance.metrics if performance else ()
    return {metric.name: metric.value for metric in metrics if metric.value is not None}
