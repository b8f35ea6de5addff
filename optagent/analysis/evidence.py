"""From reports to the facts that the diagnosis weighs."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from optagent.analysis.concept_drift import loss_unit, row_losses
from optagent.analysis.diagnosis import unit_change
from optagent.analysis.observed import Observed
from optagent.analysis.performance import judged
from optagent.domain.concept_drift import ConceptDrift
from optagent.domain.diagnosis import ColumnFacts, DegradedMetric, UnitChange
from optagent.domain.drift import ColumnDrift, DriftReport, DriftStatus
from optagent.domain.performance import Degradation, EstimatedPerformance

_BINS = 10
_ENOUGH = 30  # rows, for a mean loss


def column_facts(drift: DriftReport | None, reference: Observed, current: Observed) -> tuple[ColumnFacts, ...]:
    """What is known of each feature; a feature whose drift is not known yet counts as not drifted."""
    if drift is None:
        return ()
    labelled = current.where(judged(current))
    losses = row_losses(labelled, loss_unit(reference.where(judged(reference)))) if len(labelled) else np.empty(0)
    return tuple(
        _facts(found, place, reference, current, labelled, losses) for place, found in enumerate(drift.features)
    )


def _facts(
    found: ColumnDrift,
    place: int,
    reference: Observed,
    current: Observed,
    labelled: Observed,
    losses: npt.NDArray[np.float64],
) -> ColumnFacts:
    then, now = reference.x[:, place], current.x[:, place]
    moved = found.status in (DriftStatus.DRIFTED, DriftStatus.SUSPECTED)
    inside, outside = _losses_by_region(found.kind, then, labelled.x[:, place], losses) if moved else (None, None)
    change: UnitChange | None = None
    if moved and found.kind == "numeric":
        change = unit_change(then.astype(np.float64), now.astype(np.float64))
    return ColumnFacts(
        name=found.name,
        effect=found.effect,
        drifted=found.status is DriftStatus.DRIFTED,
        importance=found.weight,
        null_share_then=found.then.missing,
        null_share_now=found.now.missing,
        constant_then=_constant(then),
        constant_now=_constant(now),
        unit_change=change,
        unseen_share=found.now.unseen,
        loss_inside=inside,
        loss_outside=outside,
    )


def _constant(values: npt.NDArray[np.float32]) -> bool:
    present = values[~np.isnan(values)]
    return len(present) >= _ENOUGH and bool((present == present[0]).all())


def _losses_by_region(
    kind: str, then: npt.NDArray[np.float32], now: npt.NDArray[np.float32], losses: npt.NDArray[np.float64]
) -> tuple[float | None, float | None]:
    """Mean losses of the rows where the feature has become more frequent, and of the others."""
    if len(losses) < 2 * _ENOUGH or np.isnan(then).all():
        return None, None
    if kind in ("numeric", "datetime"):
        edges = np.unique(np.nanquantile(then, np.linspace(0, 1, _BINS + 1)[1:-1]))
        before, after = (np.where(np.isnan(values), -1, np.searchsorted(edges, values)) for values in (then, now))
    else:
        before, after = (np.where(np.isnan(values), -1, values).astype(np.int64) for values in (then, now))
    codes = np.union1d(before, after)
    grown = [code for code in codes if (after == code).mean() > (before == code).mean()]
    inside = np.isin(after, grown)
    if min(inside.sum(), (~inside).sum()) < _ENOUGH:
        return None, None
    return float(losses[inside].mean()), float(losses[~inside].mean())


def degraded_metrics(degradation: Sequence[Degradation]) -> tuple[DegradedMetric, ...]:
    """The watched metrics that fell by more than their threshold, surely."""
    found = []
    for one in degradation:
        then, now, drop = one.reference.value, one.current.value, one.drop
        if one.watched and one.degraded and then is not None and now is not None and drop is not None:
            found.append(DegradedMetric(one.name, then, now, drop.estimate, drop.low, drop.high))
    return tuple(found)


def estimated_drop(
    estimated: EstimatedPerformance | None, degradation: Sequence[Degradation], metric: str
) -> float | None:
    """By how much the estimate says that a metric fell, in the unit of `Degradation.drop`; above 0 is worse."""
    if estimated is None:
        return None
    reference = next((one.reference for one in degradation if one.name == metric), None)
    found = next((one for one in estimated.metrics if one.name == metric), None)
    if reference is None or found is None or reference.value is None:
        return None
    fall = reference.value - found.interval.estimate if found.maximize else found.interval.estimate - reference.value
    if found.bounded:
        return fall
    return fall / abs(reference.value) if reference.value else None


def drifted_importance(drift: DriftReport | None) -> float | None:
    """The share of the model's importance in features that drifted."""
    if drift is None or drift.status is DriftStatus.UNKNOWN:
        return None
    return sum(one.weight for one in drift.features if one.status is DriftStatus.DRIFTED)


def loss_growth(concept: ConceptDrift | None) -> float | None:
    """By how much a row the loss has grown, where the detector says that it has."""
    return concept.excess.estimate if concept is not None and concept.detected and concept.excess else None
