from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from optagent import codec
from optagent.analysis.diagnosis import diagnose, ranked_causes
from optagent.analysis.pipeline_faults import column_fault
from optagent.analysis.unit_change import unit_change
from optagent.domain.diagnosis import (
    ColumnFacts,
    Condition,
    ConfidenceLevel,
    DegradedMetric,
    Diagnosis,
    DiagnosisFacts,
    Remedy,
    UnitChange,
)

QUIET = DiagnosisFacts(
    rows=1000, labelled=1000, columns=(ColumnFacts("a", importance=0.7), ColumnFacts("b", importance=0.3))
)
DROP = (DegradedMetric("auc", 0.8, 0.7, 0.1, 0.05, 0.15),)
DRIFTED = (ColumnFacts("a", effect=0.3, drifted=True, importance=0.7), ColumnFacts("b", importance=0.3))
TRIFLE = (ColumnFacts("a", importance=0.995), ColumnFacts("b", effect=0.9, drifted=True, importance=0.005))
NULLS = ColumnFacts("a", importance=0.7, null_share_then=0.01, null_share_now=0.4)
MISCALIBRATED = {"calibration_error_then": 0.02, "calibration_error_now": 0.09, "auc_kept": True}


def diagnosis_of(**facts: Any) -> Diagnosis:
    return diagnose(replace(QUIET, **facts))


@pytest.mark.parametrize(
    ("facts", "verdict", "remedy", "reason"),
    [
        ({}, Condition.STABLE, Remedy.NOTHING, "no metric has fallen"),
        ({"rows": 20}, Condition.INSUFFICIENT, Remedy.WAIT, "20 rows are too few"),
        ({"rows": 20, "degraded": DROP}, Condition.INSUFFICIENT, Remedy.WAIT, "20 rows are too few"),
        ({"labelled": 10}, Condition.INSUFFICIENT, Remedy.WAIT, "10 labels are too few"),
        ({"labelled": 10, "degraded": DROP}, Condition.INSUFFICIENT, Remedy.WAIT, "10 labels are too few"),
        ({"labelled": 10, "columns": DRIFTED}, Condition.DATA_DRIFT, Remedy.WAIT, "features have drifted: a"),
        ({"columns": (NULLS,)}, Condition.FAULT, Remedy.FIX_PIPELINE, "a: 40% of the values are missing, 1% before"),
        ({"columns": (NULLS,), "degraded": DROP}, Condition.FAULT, Remedy.FIX_PIPELINE, "are missing"),
        ({"columns": (NULLS,), "labelled": 0}, Condition.FAULT, Remedy.FIX_PIPELINE, "are missing"),
        ({"columns": (ColumnFacts("a", constant_now=True),)}, Condition.FAULT, Remedy.FIX_PIPELINE, "become constant"),
        ({"columns": (ColumnFacts("a", unseen_share=0.9),)}, Condition.FAULT, Remedy.FIX_PIPELINE, "does not know"),
        (
            {"columns": (ColumnFacts("a", unit_change=UnitChange(1000, 0)),)},
            Condition.FAULT,
            Remedy.FIX_PIPELINE,
            "1000 times what they were",
        ),
        ({"labelled": 0, "labels_due": 900}, Condition.FAULT, Remedy.FIX_PIPELINE, "labels have stopped"),
        ({"labelled": 60, "labels_due": 900}, Condition.FAULT, Remedy.FIX_PIPELINE, "labels are missing: 60"),
        (
            {"label_delay_then_s": 7200, "label_delay_now_s": 86_400},
            Condition.FAULT,
            Remedy.FIX_PIPELINE,
            "labels are late: they take 1 d, and took 2 h before",
        ),
        ({"label_delay_then_s": 10, "label_delay_now_s": 60}, Condition.STABLE, Remedy.NOTHING, "no metric"),
        ({"labelled": 0, "labels_due": 20}, Condition.INSUFFICIENT, Remedy.WAIT, "0 labels are too few"),
        ({"columns": DRIFTED, "degraded": DROP}, Condition.DATA_DRIFT, Remedy.RETRAIN, "auc was 0.8 and is 0.7"),
        ({"columns": DRIFTED}, Condition.DATA_DRIFT, Remedy.NOTHING, "watch it"),
        ({"columns": TRIFLE}, Condition.STABLE, Remedy.NOTHING, "no feature that matters"),
        ({"degraded": DROP}, Condition.CONCEPT_DRIFT, Remedy.RETRAIN, "no feature that matters has drifted"),
        ({"degraded": DROP}, Condition.CONCEPT_DRIFT, Remedy.RETRAIN, "retrain on recent rows"),
        ({"degraded": DROP, "columns": TRIFLE}, Condition.CONCEPT_DRIFT, Remedy.RETRAIN, "no feature that matters"),
        ({"concept_drift": True, "excess_loss": 0.2}, Condition.CONCEPT_DRIFT, Remedy.RETRAIN, "by 0.2 a row"),
        ({"concept_drift": True, "labelled": 9}, Condition.CONCEPT_DRIFT, Remedy.RETRAIN, "detector of concept drift"),
        ({"concept_drift": True, "columns": DRIFTED}, Condition.CONCEPT_DRIFT, Remedy.RETRAIN, "detector"),
        (MISCALIBRATED, Condition.CONCEPT_DRIFT, Remedy.RECALIBRATE, "calibration error was 0.0200 and is 0.0900"),
        ({**MISCALIBRATED, "columns": DRIFTED}, Condition.DATA_DRIFT, Remedy.RECALIBRATE, "calibration error"),
        ({**MISCALIBRATED, "degraded": DROP}, Condition.CONCEPT_DRIFT, Remedy.RECALIBRATE, "calibration error"),
        ({**MISCALIBRATED, "auc_kept": False, "degraded": DROP}, Condition.CONCEPT_DRIFT, Remedy.RETRAIN, "auc was"),
        ({**MISCALIBRATED, "calibration_error_now": 0.03}, Condition.STABLE, Remedy.NOTHING, "no metric"),
        ({"degraded": DROP, "tried": (Remedy.RETRAIN,)}, Condition.CONCEPT_DRIFT, Remedy.RE_TUNE, "tried without"),
        (
            {"degraded": DROP, "tried": (Remedy.RETRAIN, Remedy.RE_TUNE)},
            Condition.CONCEPT_DRIFT,
            Remedy.RE_ENGINEER,
            "tried without success: retrain, re-tune",
        ),
        ({"degraded": DROP, "tried": tuple(Remedy)}, Condition.CONCEPT_DRIFT, Remedy.WAIT, "nothing is left to try"),
        (
            {**MISCALIBRATED, "degraded": DROP, "tried": (Remedy.RECALIBRATE,)},
            Condition.CONCEPT_DRIFT,
            Remedy.RETRAIN,
            "tried without success: recalibrate",
        ),
        (
            {**MISCALIBRATED, "degraded": DROP, "tried": (Remedy.RETRAIN,)},
            Condition.CONCEPT_DRIFT,
            Remedy.RE_TUNE,
            "tried without success: retrain",
        ),
        ({**MISCALIBRATED, "tried": (Remedy.RETRAIN,)}, Condition.CONCEPT_DRIFT, Remedy.RE_TUNE, "tried without"),
        ({"tried": (Remedy.RETRAIN,)}, Condition.STABLE, Remedy.NOTHING, "no metric"),
    ],
)
def test_facts_lead_to_a_verdict_and_a_remedy_with_a_reason(
    facts: dict[str, Any], verdict: Condition, remedy: Remedy, reason: str
) -> None:
    diagnosis = diagnosis_of(**facts)
    assert (diagnosis.verdict, diagnosis.remedy) == (verdict, remedy)
    assert any(reason in text for text in diagnosis.reasons), diagnosis.reasons


def test_an_estimate_that_sees_the_drop_says_that_drift_explains_it() -> None:
    facts = {"columns": DRIFTED, "degraded": DROP, "estimate_trusted": True, "concept_drift": True}
    assert diagnosis_of(**facts, estimated_drop=0.08).verdict is Condition.DATA_DRIFT
    assert diagnosis_of(**facts, estimated_drop=0.01).verdict is Condition.CONCEPT_DRIFT


def test_an_estimate_whose_coverage_broke_goes_with_concept_drift() -> None:
    facts = {"columns": DRIFTED, "degraded": DROP, "estimated_drop": 0.1, "estimate_trusted": False}
    assert diagnosis_of(**facts, concept_drift=True).verdict is Condition.CONCEPT_DRIFT
    assert diagnosis_of(**facts).verdict is Condition.DATA_DRIFT


def test_a_loss_that_is_no_greater_where_features_drifted_is_concept_drift() -> None:
    inside = replace(DRIFTED[0], loss_inside=0.4, loss_outside=0.4)
    facts = {"columns": (inside, DRIFTED[1]), "degraded": DROP, "concept_drift": True}
    assert diagnosis_of(**facts).verdict is Condition.CONCEPT_DRIFT
    worse_inside = (replace(inside, loss_inside=0.9), DRIFTED[1])
    assert diagnosis_of(**{**facts, "columns": worse_inside}).verdict is Condition.DATA_DRIFT


def test_a_fault_in_a_column_that_hardly_matters_does_not_hide_concept_drift() -> None:
    diagnosis = diagnosis_of(columns=(replace(NULLS, importance=0.001),), degraded=DROP)
    assert diagnosis.verdict is Condition.CONCEPT_DRIFT
    assert any("hardly uses it" in reason for reason in diagnosis.reasons)


def test_a_trusted_estimate_of_a_drop_offers_to_retrain_before_labels_come() -> None:
    diagnosis = diagnosis_of(labelled=0, columns=DRIFTED, estimated_drop=0.1, estimate_trusted=True)
    assert diagnosis.alternatives == (Remedy.RETRAIN,)
    assert diagnosis_of(labelled=0, columns=DRIFTED, estimated_drop=0.1).alternatives == ()


def test_an_estimate_alone_clears_nothing() -> None:
    diagnosis = diagnosis_of(labelled=0, estimated_drop=0.0, estimate_trusted=True)
    assert diagnosis.verdict is Condition.INSUFFICIENT


def test_many_new_categories_are_said_beside_a_loss() -> None:
    columns = (replace(DRIFTED[0], unseen_share=0.2),)
    assert any(
        "20% of the rows have a category" in reason for reason in diagnosis_of(columns=columns, degraded=DROP).reasons
    )


def test_drift_without_importances_may_explain_a_loss() -> None:
    columns = (ColumnFacts("a", effect=0.3, drifted=True),)
    assert diagnosis_of(columns=columns, degraded=DROP).verdict is Condition.DATA_DRIFT


def test_the_share_of_drifted_importance_decides_where_it_is_known() -> None:
    assert diagnosis_of(columns=DRIFTED, drifted_importance=0.01, degraded=DROP).verdict is Condition.CONCEPT_DRIFT


def test_two_signs_of_a_loss_are_surer_than_one() -> None:
    unsure = (replace(DROP[0], low=None, high=None),)
    assert diagnosis_of(columns=DRIFTED, degraded=unsure).confidence is ConfidenceLevel.LOW
    assert diagnosis_of(columns=DRIFTED, degraded=DROP).confidence is ConfidenceLevel.MEDIUM
    assert diagnosis_of(degraded=DROP, concept_drift=True).confidence is ConfidenceLevel.HIGH


def test_causes_are_ranked_by_effect_times_importance() -> None:
    columns = (
        ColumnFacts("large", effect=0.5, drifted=True, importance=0.1),
        ColumnFacts("still", effect=0.02, importance=0.6),
        ColumnFacts("weighty", effect=0.4, drifted=True, importance=0.3),
    )
    causes = ranked_causes(columns)
    assert [cause.column for cause in causes] == ["weighty", "large"]
    assert sum(cause.weight for cause in causes) == pytest.approx(1)


def test_a_cause_goes_with_the_loss() -> None:
    harmless = ColumnFacts("harmless", 0.9, True, 0.6, loss_inside=0.3, loss_outside=0.4)
    harmful = ColumnFacts("harmful", 0.2, True, 0.2, loss_inside=0.9, loss_outside=0.4)
    first, second = ranked_causes((harmless, harmful))
    assert (first.column, second.weight) == ("harmful", 0)
    assert "0.5 more is lost a row where it drifted" in first.reason


def test_a_fault_is_the_first_cause() -> None:
    diagnosis = diagnosis_of(columns=(*DRIFTED, replace(NULLS, name="z", effect=0.01)))
    assert [cause.column for cause in diagnosis.causes] == ["z", "a"]


@pytest.mark.parametrize(
    "column",
    [
        ColumnFacts("a", null_share_then=0.35, null_share_now=0.4),
        ColumnFacts("a", constant_then=True, constant_now=True),
        ColumnFacts("a", unseen_share=0.1),
        ColumnFacts("a", effect=1.0, drifted=True),
    ],
)
def test_what_was_so_before_or_only_drifted_is_no_fault(column: ColumnFacts) -> None:
    assert column_fault(column) is None


def values(seed: int = 0, rows: int = 2000) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(sigma=0.5, size=rows)


@pytest.mark.parametrize(
    ("factor", "name"), [(1000, "1,000"), (0.01, "100"), (60, "minutes"), (1 / 86_400, "days"), (777, "")]
)
def test_a_change_of_unit_is_found_by_its_factor(factor: float, name: str) -> None:
    change = unit_change(values(), factor * values(seed=1))
    assert change is not None
    assert change.scale == pytest.approx(factor, rel=0.1)
    assert name in change.name


def test_degrees_are_told_from_their_line() -> None:
    celsius = np.random.default_rng(0).normal(15, 8, size=(2, 2000))
    change = unit_change(celsius[0], 1.8 * celsius[1] + 32)
    assert change is not None
    assert "Fahrenheit" in change.name
    assert "plus 3" in str(column_fault(ColumnFacts("t", unit_change=change)))


@pytest.mark.parametrize(
    "current",
    [
        values(seed=1),
        values(seed=1) * 3,
        values(seed=1) + 500,
        values(seed=1) ** 6 * 1000,
        -1000 * values(seed=1),
        np.full(100, 5.0),
        1000 * values(rows=20),
        np.full(100, np.nan),
    ],
    ids=["same", "wider", "shifted", "another shape", "negative", "constant", "few", "none"],
)
def test_what_the_world_may_do_is_no_change_of_unit(current: np.ndarray) -> None:
    assert unit_change(values(), current) is None


def test_missing_values_do_not_hide_a_change_of_unit() -> None:
    current = 1000 * values(seed=1)
    current[::3] = np.nan
    assert unit_change(values(), current) is not None


def test_a_diagnosis_survives_json() -> None:
    diagnosis = diagnosis_of(columns=(NULLS, *DRIFTED), degraded=DROP)
    assert codec.decode(Diagnosis, codec.encode(diagnosis)) == diagnosis
