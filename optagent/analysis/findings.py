"""Findings of a report: falls, drifts and faults that are bad enough for an alert."""

from collections.abc import Iterator, Sequence

from optagent.analysis.confidence import is_less_certain
from optagent.analysis.pipeline_faults import span_text
from optagent.domain.alert import AlertKind, Finding, Severity
from optagent.domain.diagnosis import Condition, Diagnosis
from optagent.domain.drift import DriftReport, DriftStatus
from optagent.domain.label_maturity import LabelSlowing
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring
from optagent.domain.performance import Degradation
from optagent.domain.quality import RowProblem

_SERIOUS = 2.0  # times the threshold
_UNUSABLE = 0.01  # of the rows
_QUALITY = (RowProblem.UNUSABLE_PREDICTION, RowProblem.UNUSABLE_LABEL, RowProblem.CONFLICTING)  # copies do no harm
_MOST_NAMES = 5


def findings_of(report: ModelReport, monitoring: Monitoring) -> tuple[Finding, ...]:
    """The findings of a report, by kind; empty where nothing is wrong."""
    return (
        *_performance_findings(report),
        *(_drift_findings(report.drift, monitoring) if report.drift else ()),
        *_confidence_findings(report),
        *_quality_findings(report),
        *(_pipeline_findings(report.diagnosis) if report.diagnosis else ()),
        *(_label_findings(report.labels.slowing) if report.labels and report.labels.slowing else ()),
    )


def _performance_findings(report: ModelReport) -> Iterator[Finding]:
    degradations = report.performance.degradation if report.performance else ()
    falls = [one for one in degradations if one.degraded and one.watched]
    if falls:
        yield Finding(
            AlertKind.PERFORMANCE, _severity_of(falls), "; ".join(map(_fall_message, falls)), _drop_by_metric(falls)
        )
    business = [one for one in report.business.degradation if one.degraded] if report.business else []
    if business:
        yield Finding(
            AlertKind.PERFORMANCE, Severity.WARNING, "; ".join(map(_fall_message, business)), _drop_by_metric(business)
        )
    concept = report.concept_drift
    if concept is not None and concept.is_detected:
        by = "" if concept.excess is None else f" by {concept.excess.estimate:.4g}"
        yield Finding(
            AlertKind.CONCEPT_DRIFT,
            Severity.CRITICAL,
            f"the {concept.loss} has grown{by}",
            {"e_value": concept.e_value, "alarmed_at": concept.alarmed_at, "changed_at": concept.changed_at},
        )


def _drift_findings(drift: DriftReport, monitoring: Monitoring) -> Iterator[Finding]:
    """Drift of the features counts when it has lasted, and when they matter enough to the model."""
    if drift.status is DriftStatus.DRIFTED and drift.score >= monitoring.drift_score_threshold:
        ranked = sorted(drift.features, key=lambda one: -one.weight * one.effect)
        names = [one.name for one in ranked if one.status is DriftStatus.DRIFTED]
        severe = drift.score >= _SERIOUS * monitoring.drift_score_threshold
        yield Finding(
            AlertKind.DATA_DRIFT,
            Severity.WARNING if severe else Severity.INFO,
            f"{len(names)} features have drifted, score {drift.score:.3f}: {', '.join(names[:_MOST_NAMES])}",
            {"score": drift.score, "features": names},
        )
    if drift.prediction_status is DriftStatus.DRIFTED and drift.prediction_score >= monitoring.drift_score_threshold:
        yield Finding(
            AlertKind.PREDICTION_DRIFT,
            Severity.INFO,
            f"the predictions have drifted by {drift.prediction_score:.3f}",
            {"score": drift.prediction_score},
        )


def _confidence_findings(report: ModelReport) -> Iterator[Finding]:
    confidence = report.confidence
    if confidence is None or confidence.reference is None:
        return
    then, now = confidence.reference.uncertain, confidence.current.uncertain
    surely = confidence.rise is None or confidence.rise.low > 0
    if surely and is_less_certain(confidence.current, confidence.reference):
        yield Finding(
            AlertKind.CONFIDENCE,
            Severity.INFO,
            f"{now:.0%} of the predictions are below the confidence of {confidence.threshold:g}, {then:.0%} before",
            {"uncertain": now, "uncertain_before": then},
        )


def _quality_findings(report: ModelReport) -> Iterator[Finding]:
    quality = report.quality
    if quality is None or not quality.rows:
        return
    rows = quality.rows if quality.sampled is None else quality.sampled
    shares = {problem: quality.problems.get(problem, 0) / rows for problem in _QUALITY}
    bad = {str(problem): share for problem, share in shares.items() if share >= _UNUSABLE}
    if bad:
        message = ", ".join(f"{name} in {share:.1%} of the rows" for name, share in bad.items())
        yield Finding(AlertKind.DATA_QUALITY, Severity.WARNING, message, bad)


def _pipeline_findings(diagnosis: Diagnosis) -> Iterator[Finding]:
    if diagnosis.verdict is Condition.FAULT:
        yield Finding(
            AlertKind.PIPELINE,
            Severity.CRITICAL,
            "; ".join(diagnosis.reasons),
            {"columns": [cause.column for cause in diagnosis.causes[:_MOST_NAMES]]},
        )


def _label_findings(slowing: LabelSlowing) -> Iterator[Finding]:
    if slowing.is_detected:
        yield Finding(
            AlertKind.LABELS,
            Severity.WARNING,
            f"labels come more slowly: {slowing.share:.1%} of the requests had one after {span_text(slowing.age_s)}, "
            f"usually {slowing.usual_share:.1%}",
            {
                "age_s": slowing.age_s,
                "share": slowing.share,
                "usual_share": slowing.usual_share,
                "since": slowing.since,
                "p_value": slowing.p_value,
            },
        )


def _severity_of(falls: Sequence[Degradation]) -> Severity:
    worst = max(one.drop.estimate / one.threshold for one in falls if one.drop is not None)
    return Severity.CRITICAL if worst >= _SERIOUS else Severity.WARNING


def _drop_by_metric(falls: Sequence[Degradation]) -> dict[str, float]:
    return {one.name: one.drop.estimate for one in falls if one.drop is not None}


def _fall_message(one: Degradation) -> str:
    drop = 0.0 if one.drop is None else one.drop.estimate
    return f"{one.name} was {one.reference.value:.4g} and is {one.current.value:.4g}, worse by {drop:.4g}"
