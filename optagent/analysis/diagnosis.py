"""Rule-based diagnosis of a window: the condition of the model, its causes and the remedy, from collected facts.

Faults of the pipeline come first, since they spoil all other evidence; then loss of quality, with or without drift;
then drift alone. Each rule gives its reason in words.
"""

from collections.abc import Sequence

from optagent.analysis.pipeline_faults import (
    FEWEST_LABELS,
    FEWEST_ROWS,
    column_fault,
    label_fault,
    payload_faults,
)
from optagent.domain.diagnosis import (
    Cause,
    ColumnFacts,
    Condition,
    ConfidenceLevel,
    Diagnosis,
    DiagnosisFacts,
    Remedy,
)
from optagent.domain.remedy_ladder import GROWTH, next_remedies

_NEW_CATEGORIES = 0.05
_MATERIAL = 0.05  # of the importance: less cannot explain a loss
_WEIGHTY = 0.01
_CALIBRATION_LOST, _CALIBRATION_TIMES, _NOISE_TIMES = 0.02, 1.5, 2.0
_EXPLAINED = 0.5  # of the drop, by the estimate that knows of features only


def diagnose(evidence: DiagnosisFacts) -> Diagnosis:
    """The diagnosis of one window."""
    broken = payload_faults(evidence)
    if evidence.rows < FEWEST_ROWS and not broken:
        reason = f"{evidence.rows} rows are too few to judge, at least {FEWEST_ROWS} are needed"
        return Diagnosis(Condition.INSUFFICIENT, Remedy.WAIT, (reason,), confidence=ConfidenceLevel.LOW)
    signs = {column.name: column_fault(column) for column in evidence.columns}
    faults = {name: reason for name, reason in signs.items() if reason is not None}
    late = label_fault(evidence)
    reasons = (*broken, *faults.values(), *((late,) if late else ()))
    weighty = [column for column in evidence.columns if column.name in faults and _is_important(column)]
    known_loss = _has_loss(evidence) and evidence.labelled >= FEWEST_LABELS
    if reasons and (broken or weighty or not known_loss):
        causes = ranked_causes(evidence.columns, faults)
        confidence = ConfidenceLevel.HIGH if weighty or broken else ConfidenceLevel.MEDIUM
        later = (Remedy.WAIT,) if late else ()
        return Diagnosis(Condition.FAULT, Remedy.FIX_PIPELINE, reasons, causes, later, confidence)
    notes = (*(f"{reason}, but the model hardly uses it" for reason in faults.values()), *((late,) if late else ()))
    if not evidence.judged:
        return _drift_only_diagnosis(evidence, notes)
    if evidence.labelled < FEWEST_LABELS and not evidence.concept_drift:
        few = f"{evidence.labelled} labels are too few to judge the quality, at least {FEWEST_LABELS} are needed"
        return _unlabelled_diagnosis(evidence, few, notes)
    if _has_loss(evidence):
        return _loss_diagnosis(evidence, notes)
    if evidence.uncompared:
        return _unlabelled_diagnosis(evidence, f"the quality cannot be compared: {evidence.uncompared}", notes)
    return _no_loss_diagnosis(evidence, notes)


def ranked_causes(columns: Sequence[ColumnFacts], faults: dict[str, str] | None = None) -> tuple[Cause, ...]:
    """The columns that drifted or are faulty, by effect, importance, and how much more is lost where they drifted.

    Faulty columns come first. A drifted column where no more is lost than elsewhere has no weight, unless that is true
    of all columns. A loss that is not known counts as the mean of those that are known.
    """
    faults = faults or {}
    candidates = [column for column in columns if column.drifted or column.name in faults]
    gains = {column.name: max(0.0, loss) for column in candidates if (loss := column.excess_loss) is not None}
    typical = sum(gains.values()) / len(gains) if gains else 1.0
    unknown = 1.0 / max(len(columns), 1)
    scores = {
        column.name: column.effect
        * (unknown if column.importance is None else column.importance)
        * gains.get(column.name, typical)
        for column in candidates
    }
    if not any(scores.values()):  # no more is lost anywhere: rank by drift and importance
        scores = {column.name: column.effect * (column.importance or unknown) for column in candidates}
    total = sum(scores.values())
    candidates.sort(key=lambda column: (column.name not in faults, -scores[column.name], -column.effect, column.name))
    return tuple(
        Cause(
            column=column.name,
            weight=scores[column.name] / total if total > 0 else 0.0,
            effect=column.effect,
            importance=column.importance,
            excess_loss=column.excess_loss,
            reason=faults.get(column.name) or _column_reason(column),
        )
        for column in candidates
    )


def _has_loss(evidence: DiagnosisFacts) -> bool:
    return bool(evidence.degraded) or evidence.concept_drift


def _is_important(column: ColumnFacts) -> bool:
    return column.importance is None or column.importance >= _WEIGHTY


def _has_material_drift(evidence: DiagnosisFacts) -> bool:
    """True where enough of what the model goes by has drifted."""
    if evidence.drifted_importance is not None:
        return evidence.drifted_importance >= _MATERIAL
    importances = [column.importance for column in evidence.columns if column.drifted]
    known_importances = [importance for importance in importances if importance is not None]
    return len(known_importances) < len(importances) or sum(known_importances) >= _MATERIAL


def _is_miscalibrated(evidence: DiagnosisFacts) -> bool:
    """True where the ranking is as good as before, but the probabilities are worse by more than noise of few labels."""
    then, now = evidence.calibration_error_then, evidence.calibration_error_now
    if then is None or now is None or not evidence.auc_kept:
        return False
    real = now >= _NOISE_TIMES * evidence.calibration_noise
    return real and now - then >= _CALIBRATION_LOST and now >= _CALIBRATION_TIMES * then


def _drift_only_diagnosis(evidence: DiagnosisFacts, notes: tuple[str, ...]) -> Diagnosis:
    causes = ranked_causes(evidence.columns)
    unknown = "the quality was not looked at"
    if _has_material_drift(evidence):
        reasons = (_drift_reason(evidence), unknown, *notes)
        return Diagnosis(Condition.DATA_DRIFT, Remedy.NOTHING, reasons, causes, confidence=ConfidenceLevel.LOW)
    reasons = ("no feature that matters has drifted", unknown, *notes)
    return Diagnosis(Condition.STABLE, Remedy.NOTHING, reasons, causes, confidence=ConfidenceLevel.LOW)


def _unlabelled_diagnosis(evidence: DiagnosisFacts, few: str, notes: tuple[str, ...]) -> Diagnosis:
    causes = ranked_causes(evidence.columns)
    drop = evidence.estimated_drop
    if not _has_material_drift(evidence):
        return Diagnosis(Condition.INSUFFICIENT, Remedy.WAIT, (few, *notes), causes, confidence=ConfidenceLevel.LOW)
    reasons = [_drift_reason(evidence), few]
    later: tuple[Remedy, ...] = ()
    if drop is not None and drop > 0 and evidence.estimate_trusted:
        reasons.append(f"the estimate without labels says a drop of {drop:.4g}, to be settled by labels")
        later = (Remedy.RETRAIN,)
    return Diagnosis(Condition.DATA_DRIFT, Remedy.WAIT, (*reasons, *notes), causes, later, ConfidenceLevel.LOW)


def _loss_diagnosis(evidence: DiagnosisFacts, notes: tuple[str, ...]) -> Diagnosis:
    reasons = [*_loss_reasons(evidence)]
    causes = ranked_causes(evidence.columns)
    drifted = _has_material_drift(evidence)
    explained = _explained_by_drift(evidence) if drifted else False
    by_drift = explained or (explained is None and bool(evidence.degraded))
    verdict = Condition.DATA_DRIFT if by_drift else Condition.CONCEPT_DRIFT
    if drifted:
        reasons.append(_drift_reason(evidence))
    if explained is not None and drifted:
        reasons.append("the drift explains the loss" if explained else "the drift does not explain the loss")
    if not drifted:
        reasons.append(_no_drift_reason(evidence))
    sure = any(metric.low is not None and metric.low > 0 for metric in evidence.degraded)
    cause_is_known = explained is not None
    loss_is_known = sure or (bool(evidence.degraded) and evidence.concept_drift)
    confidence = ConfidenceLevel.LOW
    if cause_is_known and loss_is_known:
        confidence = ConfidenceLevel.HIGH
    elif cause_is_known or loss_is_known:
        confidence = ConfidenceLevel.MEDIUM
    if _is_miscalibrated(evidence) and not _recalibration_failed(evidence):
        reasons.append(_calibration_reason(evidence))
        rungs = next_remedies(evidence.tried)
        return Diagnosis(verdict, Remedy.RECALIBRATE, (*reasons, *notes), causes, rungs, confidence)
    if evidence.unseen_share >= _NEW_CATEGORIES:
        reasons.append(f"up to {evidence.unseen_share:.0%} of the rows have a category that the model does not know")
    remedy, *later = next_remedies(evidence.tried)
    if remedy is Remedy.RETRAIN and verdict is Condition.CONCEPT_DRIFT:
        reasons.append("retrain on recent rows, since older ones teach what no longer holds")
    reasons += _failure_reasons(evidence)
    return Diagnosis(verdict, remedy, (*reasons, *notes), causes, tuple(later), confidence)


def _no_loss_diagnosis(evidence: DiagnosisFacts, notes: tuple[str, ...]) -> Diagnosis:
    drifted = _has_material_drift(evidence)
    causes = ranked_causes(evidence.columns)
    no_fall = f"no metric has fallen by more than its threshold on {evidence.labelled:,} labelled rows"
    if _is_miscalibrated(evidence):
        verdict = Condition.DATA_DRIFT if drifted else Condition.CONCEPT_DRIFT
        reasons = (_calibration_reason(evidence), (_drift_reason if drifted else _no_drift_reason)(evidence), *notes)
        if not _recalibration_failed(evidence):
            return Diagnosis(verdict, Remedy.RECALIBRATE, reasons, causes, (Remedy.RETRAIN,))
        remedy, *later = next_remedies(evidence.tried)
        return Diagnosis(verdict, remedy, (*reasons, *_failure_reasons(evidence)), causes, tuple(later))
    if drifted:
        reasons = (_drift_reason(evidence), no_fall, "watch it: nothing needs to be done yet", *notes)
        return Diagnosis(Condition.DATA_DRIFT, Remedy.NOTHING, reasons, causes, (Remedy.RETRAIN,))
    reasons = (no_fall, "no feature that matters has drifted", *notes)
    confidence = ConfidenceLevel.MEDIUM if causes or evidence.prediction_drift else ConfidenceLevel.HIGH
    return Diagnosis(Condition.STABLE, Remedy.NOTHING, reasons, causes, confidence=confidence)


def _explained_by_drift(evidence: DiagnosisFacts) -> bool | None:
    """True where the features' drift accounts for the loss; None where nothing says so either way.

    A loss that such rows had in the reference already is no news where they have become more frequent. The estimate
    without labels knows of the features only, so they do not explain a loss that it does not see.
    """
    rise, expected = evidence.loss_rise, evidence.expected_rise
    if rise is not None and expected is not None and rise > 0 and expected >= _EXPLAINED * rise:
        return True
    drop = max((metric.drop for metric in evidence.degraded[:1]), default=None)
    estimate = evidence.estimated_drop
    if estimate is not None and drop is not None and evidence.estimate_trusted:
        return estimate >= _EXPLAINED * drop
    if evidence.estimate_trusted is False and evidence.concept_drift:
        return False
    losses = [loss for column in evidence.columns if column.drifted and (loss := column.excess_loss) is not None]
    if losses and any(loss > 0 for loss in losses):
        return True
    return False if losses and evidence.concept_drift else None


def _recalibration_failed(evidence: DiagnosisFacts) -> bool:
    """True once recalibration was tried; retraining counts, since it is the way in which a model is recalibrated."""
    return not {Remedy.RECALIBRATE, Remedy.RETRAIN}.isdisjoint(evidence.tried)


def _failure_reasons(evidence: DiagnosisFacts) -> list[str]:
    """The remedies that failed, in words."""
    if not evidence.tried:
        return []
    reasons = [f"tried without success: {', '.join(evidence.tried)}"]
    if next_remedies(evidence.tried) == (Remedy.WAIT,):
        reasons.append(f"nothing is left to try until there are {GROWTH:g} times as many labelled rows as then")
    return reasons


def _loss_reasons(evidence: DiagnosisFacts) -> list[str]:
    reasons = []
    for metric in evidence.degraded:
        between = (
            "" if metric.low is None or metric.high is None else f", between {metric.low:.4g} and {metric.high:.4g}"
        )
        reasons.append(
            f"{metric.name} was {metric.then:.4g} and is {metric.now:.4g}, worse by {metric.drop:.4g}{between}"
        )
    if evidence.concept_drift:
        by = "" if evidence.excess_loss is None else f" by {evidence.excess_loss:.4g} a row"
        reasons.append(f"the detector of concept drift says that the loss has grown{by}")
    return reasons


def _drift_reason(evidence: DiagnosisFacts) -> str:
    names = [cause.column for cause in ranked_causes(evidence.columns)]
    listing = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    share = "" if evidence.drifted_importance is None else f", {evidence.drifted_importance:.0%} of the importance"
    return f"features have drifted: {listing or 'see the drift report'}{share}"


def _no_drift_reason(evidence: DiagnosisFacts) -> str:
    if evidence.prediction_drift and _is_miscalibrated(evidence):
        return "no feature that matters has drifted, but the answers have: check that it is this model that serves"
    return "no feature that matters has drifted, so the same features now mean something else"


def _column_reason(column: ColumnFacts) -> str:
    parts = [f"drifted by {column.effect:.2f}"]
    if column.importance is not None:
        parts.append(f"{column.importance:.0%} of the importance")
    loss = column.excess_loss
    if loss is not None:
        parts.append(f"{abs(loss):.4g} {'more' if loss > 0 else 'less'} is lost a row where it drifted")
    return ", ".join(parts)


def _calibration_reason(evidence: DiagnosisFacts) -> str:
    then, now = evidence.calibration_error_then, evidence.calibration_error_now
    return f"the ranking is as good as before, but the calibration error was {then:.4f} and is {now:.4f}"
