"""From a report to what is wrong: the findings that alerts are made of."""

from collections.abc import Iterator, Sequence

from optagent.domain.alert import AlertKind, Finding, Severity
from optagent.domain.diagnosis import Condition, Diagnosis
from optagent.domain.drift import DriftReport, DriftStatus
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring
from optagent.domain.performance import Degradation
from optagent.domain.quality import RowProblem

_SERIOUS = 2.0  # times the threshold
_UNUSABLE = 0.01  # of the rows
_QUALITY = (RowProblem.UNUSABLE_PREDICTION, RowProblem.UNUSABLE_LABEL, RowProblem.CONFLICTING)  # copies do no harm
_NAMED = 5


def findings_of(report: ModelReport, monitoring: Monitoring) -> tuple[Finding, ...]:
    """What is wrong, by kind; empty where nothing is."""
    return (
        *_of_performance(report),
        *(_of_drift(report.drift, monitoring) if report.drift else ()),
        *_of_confidence(report),
        *_of_quality(report),
        *(_of_pipeline(report.diagnosis) if report.diagnosis else ()),
    )


def _of_performance(report: ModelReport) -> Iterator[Finding]:
    falls = report.performance.degradation if report.performance else ()
    fallen = [one for one in falls if one.degraded and one.watched]
    if fallen:
        yield Finding(AlertKind.PERFORMANCE, _severity_of(fallen), "; ".join(map(_fall, fallen)), _falls(fallen))
    business = [one for one in report.business.degradation if one.degraded] if report.business else []
    if business:
        yield Finding(AlertKind.PERFORMANCE, Severity.WARNING, "; ".join(map(_fall, business)), _falls(business))
    concept = report.concept_drift
    if concept is not None and concept.detected:
        by = "" if concept.excess is None else f" by {concept.excess.estimate:.4g}"
        yield Finding(
            AlertKind.CONCEPT_DRIFT,
            Severity.CRITICAL,
            f"the {concept.loss} has grown{by}",
            {"e_value": concept.e_value, "alarmed_at": concept.alarmed_at, "changed_at": concept.changed_at},
        )


def _of_drift(drift: DriftReport, monitoring: Monitoring) -> Iterator[Finding]:
    """Drift of the features counts when it has lasted, and weighs enough in what the model goes by."""
    if drift.status is DriftStatus.DRIFTED and drift.score >= monitoring.drift_score_threshold:
        ranked = sorted(drift.features, key=lambda one: -one.weight * one.effect)
        names = [one.name for one in ranked if one.status is DriftStatus.DRIFTED]
        severe = drift.score >= _SERIOUS * monitoring.drift_score_threshold
        yield Finding(
            AlertKind.DATA_DRIFT,
            Severity.WARNING if severe else Severity.INFO,
            f"{len(names)} features have drifted, score {drift.score:.3f}: {', '.join(names[:_NAMED])}",
            {"score": drift.score, "features": names},
        )
    if drift.prediction_status is DriftStatus.DRIFTED and drift.prediction_score >= monitoring.drift_score_threshold:
        yield Finding(
            AlertKind.PREDICTION_DRIFT,
            Severity.INFO,
            f"the predictions have drifted by {drift.prediction_score:.3f}",
            {"score": drift.prediction_score},
        )


def _of_confidence(report: ModelReport) -> Iterator[Finding]:
    found = report.confidence
    if found is None or found.reference is None:
        return
    then, now = found.reference.uncertain, found.current.uncertain
    if then is not None and now is not None and now - then >= 0.1 and now >= 1.5 * then:
        yield Finding(
            AlertKind.CONFIDENCE,
            Severity.INFO,
            f"{now:.0%} of the predictions are below the confidence of {found.threshold:g}, {then:.0%} before",
            {"uncertain": now, "uncertain_before": then},
        )


def _of_quality(report: ModelReport) -> Iterator[Finding]:
    quality = report.quality
    if quality is None or not quality.rows:
        return
    seen = quality.rows if quality.sampled is None else quality.sampled
    shares = {problem: quality.problems.get(problem, 0) / seen for problem in _QUALITY}
    bad = {str(problem): share for problem, share in shares.items() if share >= _UNUSABLE}
    if bad:
        said = ", ".join(f"{name} in {share:.1%} of the rows" for name, share in bad.items())
        yield Finding(AlertKind.DATA_QUALITY, Severity.WARNING, said, bad)


def _of_pipeline(diagnosis: Diagnosis) -> Iterator[Finding]:
    if diagnosis.verdict is Condition.FAULT:
        yield Finding(
            AlertKind.PIPELINE,
            Severity.CRITICAL,
            "; ".join(diagnosis.reasons),
            {"columns": [cause.column for cause in diagnosis.causes[:_NAMED]]},
        )


def _severity_of(fallen: Sequence[Degradation]) -> Severity:
    worst = max(one.drop.estimate / one.threshold for one in fallen if one.drop is not None)
    return Severity.CRITICAL if worst >= _SERIOUS else Severity.WARNING


def _falls(fallen: Sequence[Degradation]) -> dict[str, float]:
    return {one.name: one.drop.estimate for one in fallen if one.drop is not None}


def _fall(one: Degradation) -> str:
    drop = 0.0 if one.drop is None else one.drop.estimate
    return f"{one.name} was {one.reference.value:.4g} and is {one.current.value:.4g}, worse by {drop:.4g}"
