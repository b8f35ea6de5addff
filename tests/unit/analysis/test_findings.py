from dataclasses import replace

import pytest

from optagent.analysis.findings import findings_of
from optagent.domain.alert import AlertKind, Severity
from optagent.domain.concept_drift import ConceptDrift, DriftState
from optagent.domain.diagnosis import Cause, Condition, Diagnosis, Remedy
from optagent.domain.drift import ColumnDrift, DriftReport, DriftStatus, Summary
from optagent.domain.model_report import Business, ModelReport
from optagent.domain.monitoring import Monitoring
from optagent.domain.performance import Certainty, Degradation, MetricValue, ModelConfidence, Performance
from optagent.domain.quality import DataQuality, RowProblem
from optagent.domain.study import Interval


def fall(drop: float, name="auc", watched=True, degraded=True) -> Degradation:
    before, after = (MetricValue(name, True, True, 500, Interval(v, v, v, 0.05)) for v in (0.8, 0.8 - drop))
    return Degradation(before, after, 0.05, Interval(drop, drop / 2, drop * 2, 0.05), degraded, watched=watched)


def make_drift(score: float, status=DriftStatus.DRIFTED, prediction=DriftStatus.STABLE) -> DriftReport:
    features = tuple(
        ColumnDrift(name, "numeric", one, effect, weight, Summary(9, 0.0), Summary(9, 0.0), 9.0)
        for name, one, effect, weight in (
            ("b", status, 0.2, 0.1),
            ("a", status, 0.3, 0.8),
            ("c", DriftStatus.STABLE, 0.9, 0.1),
        )
    )
    return DriftReport(9, 9, 9, 0.05, status, score, features, prediction, score, ())


def alerts_of(monitoring=None, **parts):
    return [(one.kind, one.severity) for one in findings_of(ModelReport("m", **parts), monitoring or Monitoring())]


def test_a_report_without_parts_has_no_finding():
    assert alerts_of() == []


@pytest.mark.parametrize(("drop", "severity"), [(0.06, Severity.WARNING), (0.11, Severity.CRITICAL)])
def test_a_fall_is_critical_from_twice_the_threshold_on(drop, severity):
    assert alerts_of(performance=Performance(9, 9, degradation=(fall(drop),))) == [(AlertKind.PERFORMANCE, severity)]


def test_metrics_that_are_not_watched_or_did_not_surely_fall_are_no_findings():
    falls = (fall(0.5, "precision", watched=False), fall(0.5, degraded=False))
    assert alerts_of(performance=Performance(9, 9, degradation=falls)) == []


def test_several_falls_are_one_finding_that_names_them_all():
    report = ModelReport("m", performance=Performance(9, 9, degradation=(fall(0.06), fall(0.2, "accuracy"))))
    (finding,) = findings_of(report, Monitoring())
    assert finding.severity is Severity.CRITICAL
    assert finding.message == "auc was 0.8 and is 0.74, worse by 0.06; accuracy was 0.8 and is 0.6, worse by 0.2"
    assert finding.evidence == {"auc": 0.06, "accuracy": 0.2}


def test_a_fall_of_a_business_metric_is_a_warning():
    assert alerts_of(business=Business((fall(0.3, "profit"),))) == [(AlertKind.PERFORMANCE, Severity.WARNING)]


def test_concept_drift_is_critical():
    assert alerts_of(concept_drift=ConceptDrift(DriftState.DETECTED)) == [(AlertKind.CONCEPT_DRIFT, Severity.CRITICAL)]
    assert alerts_of(concept_drift=ConceptDrift(DriftState.NOT_DETECTED)) == []


@pytest.mark.parametrize(("score", "severity"), [(0.1, Severity.INFO), (0.2, Severity.WARNING)])
def test_drift_counts_from_the_score_that_the_monitoring_says(score, severity):
    (finding,) = findings_of(ModelReport("m", drift=make_drift(score)), Monitoring())
    assert (finding.kind, finding.severity) == (AlertKind.DATA_DRIFT, severity)
    assert finding.evidence["features"] == ["a", "b"]
    assert alerts_of(drift=make_drift(score), monitoring=Monitoring(drift_score_threshold=0.5)) == []


def test_drift_that_has_not_lasted_is_no_finding():
    assert alerts_of(drift=make_drift(0.9, DriftStatus.SUSPECTED, DriftStatus.SUSPECTED)) == []


def test_drift_of_the_predictions_is_a_finding_of_its_own():
    report = make_drift(0.3, DriftStatus.STABLE, DriftStatus.DRIFTED)
    assert alerts_of(drift=report) == [(AlertKind.PREDICTION_DRIFT, Severity.INFO)]


def test_many_more_uncertain_rows_are_a_finding():
    def sure(now, then):
        return ModelConfidence(0.8, Certainty(100, 0, uncertain=now), Certainty(100, 0, uncertain=then))

    assert alerts_of(confidence=sure(0.4, 0.2)) == [(AlertKind.CONFIDENCE, Severity.INFO)]
    assert alerts_of(confidence=sure(0.25, 0.2)) == alerts_of(confidence=sure(0.75, 0.6)) == []
    assert alerts_of(confidence=ModelConfidence(0.8, Certainty(100, 0, uncertain=0.9), None)) == []


def test_rows_that_cannot_be_used_are_a_finding_and_copies_are_not():
    quality = DataQuality(
        1000, 500, {RowProblem.UNUSABLE_LABEL: 20, RowProblem.CONFLICTING: 5, RowProblem.DUPLICATE: 900}
    )
    (finding,) = findings_of(ModelReport("m", quality=quality), Monitoring())
    assert finding.kind is AlertKind.DATA_QUALITY
    assert finding.message == "unusable label in 2.0% of the rows"
    assert alerts_of(quality=DataQuality()) == []


def test_shares_are_of_the_rows_that_were_looked_at():
    quality = DataQuality(1_000_000, 0, {RowProblem.UNUSABLE_PREDICTION: 50}, sampled=1000)
    assert alerts_of(quality=quality) == [(AlertKind.DATA_QUALITY, Severity.WARNING)]
    assert alerts_of(quality=replace(quality, sampled=None)) == []


def test_a_fault_of_the_pipeline_is_critical_and_names_its_columns():
    fault = Diagnosis(
        Condition.FAULT, Remedy.FIX_PIPELINE, ("a has become constant",), (Cause("a", 1, 1, 1, None, ""),)
    )
    (finding,) = findings_of(ModelReport("m", diagnosis=fault), Monitoring())
    assert (finding.kind, finding.severity) == (AlertKind.PIPELINE, Severity.CRITICAL)
    assert (finding.message, finding.evidence) == ("a has become constant", {"columns": ["a"]})
    stable = Diagnosis(Condition.STABLE, Remedy.NOTHING, ())
    assert alerts_of(diagnosis=stable) == []
