"""Facts for the diagnosis: drift, losses, labels and estimates, reduced to the numbers that its rules compare."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.analysis.block_length import cube_root_length
from optagent.analysis.concept_drift import loss_unit, row_losses
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import scorable_rows
from optagent.analysis.unit_change import unit_change
from optagent.arrays import Codes
from optagent.domain.concept_drift import ConceptDrift
from optagent.domain.diagnosis import ColumnFacts, DegradedMetric, UnitChange
from optagent.domain.drift import ColumnDrift, DriftReport, DriftStatus
from optagent.domain.performance import Degradation, EstimatedPerformance
from optagent.domain.quality import DataQuality, RowProblem
from optagent.domain.study import Interval

_BINS = 10
_ENOUGH = 30  # rows, for a mean loss
_CHANCE = 1e-4
_MATERIAL = 0.1  # of the mean loss
_MOVED = (DriftStatus.DRIFTED, DriftStatus.SUSPECTED)


def column_facts(drift: DriftReport | None, reference: ObservedRows, current: ObservedRows) -> tuple[ColumnFacts, ...]:
    """The facts of each feature; a feature whose drift is not known yet counts as not drifted."""
    if drift is None:
        return ()
    labelled = current.where(scorable_rows(current))
    losses = (
        row_losses(labelled, loss_unit(reference.where(scorable_rows(reference)))) if len(labelled) else np.empty(0)
    )
    return tuple(
        _facts_of_column(column, place, reference, current, labelled, losses)
        for place, column in enumerate(drift.features)
    )


def _facts_of_column(
    column: ColumnDrift,
    place: int,
    reference: ObservedRows,
    current: ObservedRows,
    labelled: ObservedRows,
    losses: npt.NDArray[np.float64],
) -> ColumnFacts:
    then, now = reference.x[:, place], current.x[:, place]
    has_moved = column.status in _MOVED
    inside, outside = _losses_by_region(column.kind, then, labelled.x[:, place], losses) if has_moved else (None, None)
    change: UnitChange | None = None
    if has_moved and column.kind == "numeric":
        change = unit_change(then.astype(np.float64), now.astype(np.float64))
    return ColumnFacts(
        name=column.name,
        effect=column.effect,
        drifted=column.status is DriftStatus.DRIFTED,
        importance=column.weight,
        null_share_then=column.then.missing,
        null_share_now=column.now.missing,
        constant_then=_is_constant_column(then),
        constant_now=_is_constant_column(now),
        unit_change=change,
        unseen_share=column.now.unseen,
        loss_inside=inside,
        loss_outside=outside,
    )


def _is_constant_column(values: npt.NDArray[np.float32]) -> bool:
    present = values[~np.isnan(values)]
    return len(present) >= _ENOUGH and bool((present == present[0]).all())


def loss_rises(
    drift: DriftReport | None, reference: ObservedRows, current: ObservedRows
) -> tuple[float | None, float | None]:
    """The rise of the mean loss, and the rise that the features' drift alone would have caused.

    For the latter, the losses of the reference are weighted by the present distribution of a drifted feature, or of the
    predictions; the largest counts. None where the loss has hardly risen: then another metric tells more.
    """
    then, now = reference.where(scorable_rows(reference)), current.where(scorable_rows(current))
    if drift is None or min(len(then), len(now)) < 2 * _ENOUGH:
        return None, None
    unit = loss_unit(then)
    losses_then, losses_now = row_losses(then, unit), row_losses(now, unit)
    answers = (one.prediction if one.prediction.ndim == 1 else one.prediction.max(axis=1) for one in (then, now))
    expected = [_reweighted_loss(*_bin_codes("numeric", *answers), losses_then)]
    for place, column in enumerate(drift.features):
        if column.status in _MOVED:
            expected.append(_reweighted_loss(*_bin_codes(column.kind, then.x[:, place], now.x[:, place]), losses_then))
    rise = float(losses_now.mean() - losses_then.mean())
    if rise < _MATERIAL * losses_then.mean():
        return None, None
    return rise, max(expected) - float(losses_then.mean())


def _reweighted_loss(before: Codes, after: Codes, losses: npt.NDArray[np.float64]) -> float:
    """The mean loss of the reference, weighted by the codes `after`; codes without a row `before` are left out."""
    size = int(max(before.max(), after.max())) + 2
    rows = np.bincount(before + 1, minlength=size)
    mean = np.bincount(before + 1, losses, minlength=size) / np.maximum(rows, 1)
    matched = after[rows[after + 1] > 0] + 1
    return float(mean[matched].mean()) if len(matched) else float(losses.mean())


def _bin_codes(kind: str, then: npt.NDArray[Any], now: npt.NDArray[Any]) -> tuple[Codes, Codes]:
    """The tenths of the reference that values lie in, or their categories; -1 where missing."""
    if kind in ("numeric", "datetime"):
        present = then[~np.isnan(then)]
        edges = np.unique(np.quantile(present, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(present) else present
        then, now = (np.where(np.isnan(values), np.nan, np.searchsorted(edges, values)) for values in (then, now))
    before, after = (np.nan_to_num(values, nan=-1.0).astype(np.int64) for values in (then, now))
    return before, after


def _losses_by_region(
    kind: str, then: npt.NDArray[np.float32], now: npt.NDArray[np.float32], losses: npt.NDArray[np.float64]
) -> tuple[float | None, float | None]:
    """Mean losses of the rows where the feature has become more frequent, and of the others."""
    if len(losses) < 2 * _ENOUGH or np.isnan(then).all():
        return None, None
    before, after = _bin_codes(kind, then, now)
    codes = np.union1d(before, after)
    grown = [code for code in codes if (after == code).mean() > (before == code).mean()]
    inside = np.isin(after, grown)
    if min(inside.sum(), (~inside).sum()) < _ENOUGH:
        return None, None
    return float(losses[inside].mean()), float(losses[~inside].mean())


def degraded_metrics(degradation: Sequence[Degradation]) -> tuple[DegradedMetric, ...]:
    """The watched metrics that fell by more than their threshold, surely."""
    metrics = []
    for one in degradation:
        then, now, drop = one.reference.value, one.current.value, one.drop
        if one.watched and one.degraded and then is not None and now is not None and drop is not None:
            metrics.append(DegradedMetric(one.name, then, now, drop.estimate, drop.low, drop.high))
    return tuple(metrics)


def incomparable_reason(degradation: Sequence[Degradation]) -> str:
    """The reasons why no watched metric could be compared with the reference; empty where one could."""
    watched = [one for one in degradation if one.watched]
    return "" if any(one.drop is not None for one in watched) else "; ".join({one.reason: None for one in watched})


def estimated_drop(
    estimated: EstimatedPerformance | None, degradation: Sequence[Degradation], metric: str
) -> float | None:
    """The fall of a metric by its estimate, in the unit of `Degradation.drop`; above 0 is worse."""
    if estimated is None:
        return None
    reference = next((one.reference for one in degradation if one.name == metric), None)
    estimate = next((one for one in estimated.metrics if one.name == metric), None)
    if reference is None or estimate is None or reference.value is None:
        return None
    fall = (
        reference.value - estimate.interval.estimate
        if estimate.maximize
        else estimate.interval.estimate - reference.value
    )
    if estimate.bounded:
        return fall
    return fall / abs(reference.value) if reference.value else None


def calibration_noise(interval: Interval | None) -> float:
    """The calibration error that probabilities that fit would have by chance alone.

    Drawing rows again adds about as much chance as is in them already: its square is that of the middle of the interval
    less that of the estimate.
    """
    if interval is None:
        return 0.0
    middle = (interval.low + interval.high) / 2
    return math.sqrt(max(0.0, middle**2 - interval.estimate**2))


def unusable_share(quality: DataQuality, problem: RowProblem, usable: int) -> float:
    """The share of rows with this problem among these and the usable ones; 0 where there are too few to say."""
    unusable = quality.problems.get(problem, 0)
    return unusable / (unusable + usable) if unusable + usable >= _ENOUGH else 0.0


def constant_predictions(reference: ObservedRows, current: ObservedRows) -> bool:
    """True where all answers are the same, and those of the reference are not."""
    return _is_constant(current.prediction) and not _is_constant(reference.prediction)


def constant_labels(reference: ObservedRows, current: ObservedRows) -> bool:
    """True where all labels are the same, which is too unlikely by the reference's share of that value."""
    then, now = reference.y[reference.has_label], current.y[current.has_label]
    if not len(then) or not len(now) or not _is_constant(now):
        return False
    share = float((then == now[0]).mean())
    return share ** _independent_rows(len(now)) < _CHANCE


def _independent_rows(rows: int) -> float:
    """The number of independent labels among so many: those of neighbours seldom are, so a block counts once."""
    return rows / cube_root_length(rows)


def _is_constant(values: npt.NDArray[np.float64]) -> bool:
    return len(values) > 0 and bool((values == values[0]).all())


def drifted_importance(drift: DriftReport | None) -> float | None:
    """The share of the model's importance in features that drifted."""
    if drift is None or drift.status is DriftStatus.UNKNOWN:
        return None
    return sum(one.weight for one in drift.features if one.status is DriftStatus.DRIFTED)


def loss_growth(concept: ConceptDrift | None) -> float | None:
    """The rise of the loss a row, where the detector says that it has risen."""
    return concept.excess.estimate if concept is not None and concept.is_detected and concept.excess else None
