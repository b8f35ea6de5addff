"""Concept drift: the test for a rise of the loss of labelled rows above that of the reference, row by row."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optagent.analysis.bootstrap import Resampling, bootstrap_interval
from optagent.analysis.fall_test import RowSpread
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import difference, scorable_rows
from optagent.arrays import Vector
from optagent.domain.concept_drift import AdwinVerdict, ConceptDrift, Direction, DriftState
from optagent.domain.model import Task
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest
from optagent.sequential.batch_means import design_effects
from optagent.sequential.block_baseline import MIN_REFERENCE_ROWS, BlockBaseline, baseline_of
from optagent.sequential.blocks import SHORTEST_BLOCK, block_means
from optagent.sequential.e_detector import EDetector, e_detector
from optagent.sequential.run_length import arl_rows, rows_per_second

_FEWEST_BLOCKS = 5  # of current rows: less than that says nothing about a model
_MOST_UNITS = 500  # of rows that are drawn together for an interval
_LARGEST_ERROR = 0.99  # quantile of a regression's errors on the reference that counts as a whole loss
_ADWIN_DELTA = 0.002  # of river


@dataclass(frozen=True, slots=True)
class LossBaseline:
    """The losses of a reference, in plain values: the error that counts as a whole loss, the expectation for blocks,
    and the spread of single rows."""

    unit: float
    blocks: BlockBaseline
    rows: RowSpread


def loss_baseline(reference: ObservedRows, timed: bool, every: float = 1.0) -> LossBaseline | None:
    """The baseline of a reference; None for too few labelled rows.

    `timed` is False where the times of the rows are only numbers. `every` is above 1 where only one in so many rows was
    kept.
    """
    rows = reference.where(scorable_rows(reference))
    if len(rows) < MIN_REFERENCE_ROWS:
        return None
    unit = loss_unit(rows)
    losses = row_losses(rows, unit)
    blocks, effects = baseline_of(losses, rows.time if timed else None), design_effects(losses)
    if every > 1:
        blocks, effects = blocks.thin(every), effects.thin(every)
    return LossBaseline(unit, blocks, RowSpread(float(losses.std()), effects))


def concept_drift(
    reference: ObservedRows,
    current: ObservedRows,
    false_alarm_every_s: float,
    seed: int = 0,
    alpha: float = 0.05,
    baseline: LossBaseline | None = None,
) -> ConceptDrift:
    """The verdict on the current rows, taken in the order of time; `alpha` is that of the interval of the excess loss.

    Both hold rows as the model answered them; those of `reference` are from before anything may have changed, and were
    never trained on. Rows without a label, or without a finite prediction, are left out. Without a `baseline`, that of
    the rows of the reference is used, whose times are then no instants.
    """
    if reference.task is not current.task:
        raise InvalidRequest(f"reference is of a {reference.task} model, current of a {current.task} model")
    before, now = (rows.where(scorable_rows(rows)) for rows in (reference, current))
    sizes = ConceptDrift(
        DriftState.INSUFFICIENT, loss=loss_name(current.task), rows=len(now), reference_rows=len(before)
    )
    if len(before) < MIN_REFERENCE_ROWS:
        return replace(sizes, reason=f"{len(before)} labelled reference rows, {MIN_REFERENCE_ROWS} are needed")
    rate = rows_per_second(now.time) or rows_per_second(before.time)
    if not len(now) or rate is None:
        return replace(sizes, reason="no labelled rows" if not len(now) else "all labelled rows are of one instant")
    known = baseline or loss_baseline(reference, timed=False)
    assert known is not None
    losses, reference_losses = row_losses(now, known.unit), row_losses(before, known.unit)
    blocks = known.blocks
    run_length = arl_rows(false_alarm_every_s, rate)
    detector = e_detector(blocks, run_length).after(losses)
    least_rows = _FEWEST_BLOCKS * blocks.block
    verdict = replace(
        _detection(sizes, detector, now.time),
        arl_rows=run_length,
        adwin=adwin_verdict(reference_losses, losses, now.time, blocks.block),
        caveat=blocks.doubt,
    )
    if detector.alarm is None and len(now) < least_rows:
        reason = f"{len(now)} labelled rows, {least_rows} are needed ({_FEWEST_BLOCKS} blocks of {blocks.block})"
        return replace(verdict, state=DriftState.INSUFFICIENT, reason=reason)
    since = losses[detector.alarm.start :] if detector.alarm else losses
    excess = excess_loss(reference_losses, since, blocks, seed, alpha)
    return replace(verdict, excess=excess, direction=direction_of(excess))


def loss_name(task: Task) -> str:
    return "brier score" if task.classifies else "clipped absolute error"


def loss_unit(reference: ObservedRows) -> float:
    """The error that counts as a whole loss: 1 for classifiers, a large error on the reference for regressions."""
    if reference.task.classifies:
        return 1.0
    largest = float(np.quantile(np.abs(reference.y - reference.prediction), _LARGEST_ERROR))
    return largest if largest > 0 else 1.0


def row_losses(observed: ObservedRows, unit: float = 1.0) -> Vector:
    """(rows,) losses between 0 and 1 of rows that have a label: the squared distance to the truth, or |error| / unit.

    The Brier score sees what the error indicator cannot: probabilities that no longer fit while the label that is
    answered stays the same, as with a rare class.
    """
    prediction, y = observed.prediction, observed.y
    if observed.task is Task.REGRESSION:
        return np.minimum(np.abs(y - prediction) / unit, 1.0)
    if prediction.ndim == 1:
        return np.clip(np.square(y - prediction), 0.0, 1.0)
    truth = np.arange(prediction.shape[1]) == y[:, None]
    return np.clip(np.square(truth - prediction).sum(axis=1) / 2, 0.0, 1.0)


def excess_loss(
    reference: Vector, since: Vector, baseline: BlockBaseline, seed: int = 0, alpha: float = 0.05
) -> Interval:
    """The rise of the mean of `since` above that of the reference, as an interval."""
    before = _mean_interval(reference, baseline.block, seed, alpha)
    now = _mean_interval(since, baseline.block, seed + 1, alpha)
    return difference(now, before)


def adwin_verdict(reference: Vector, losses: Vector, time: Vector, block: int) -> AdwinVerdict:
    """The verdict of ADWIN (Bifet and Gavaldà 2007, Learning from time-changing data with adaptive windowing).

    It reads the reference first. It takes rows to be independent: where they are not, it gets means of blocks. Where
    they are, blocks would only make it slower, since its bound is one for values anywhere between 0 and 1.
    """
    from river.drift import ADWIN

    grain = 1 if block <= SHORTEST_BLOCK else block
    create: Any = ADWIN  # untyped
    adwin = create(delta=_ADWIN_DELTA)
    for mean in block_means(reference, grain).tolist():
        adwin.update(mean)
    fall = None
    for index, mean in enumerate(block_means(losses, grain).tolist()):
        expected = adwin.estimation
        adwin.update(mean)
        if not adwin.drift_detected:
            continue
        at = float(time[(index + 1) * grain - 1])
        if adwin.estimation > expected:
            return AdwinVerdict(True, at, Direction.WORSE)
        fall = fall or AdwinVerdict(True, at, Direction.BETTER)
    return fall or AdwinVerdict(False)


def _detection(sizes: ConceptDrift, detector: EDetector, time: Vector) -> ConceptDrift:
    alarm = detector.alarm
    return replace(
        sizes,
        state=DriftState.DETECTED if alarm else DriftState.NOT_DETECTED,
        block_rows=detector.baseline.block,
        threshold=detector.threshold,
        e_value=detector.e_value,
        alarmed_at=float(time[alarm.row]) if alarm else None,
        changed_at=float(time[alarm.start]) if alarm else None,
        reference_loss=detector.baseline.mean,
    )


def direction_of(excess: Interval) -> Direction:
    if excess.low > 0:
        return Direction.WORSE
    return Direction.BETTER if excess.high < 0 else Direction.UNCLEAR


def _mean_interval(losses: Vector, block: int, seed: int, alpha: float) -> Interval:
    """The interval of the mean, from means of blocks, which are fewer than rows; an unfinished block is left out."""
    longest = max(1, len(losses) // 10)
    units = block_means(losses, min(longest, max(block, math.ceil(len(losses) / _MOST_UNITS))))
    return bootstrap_interval(
        lambda y, _: float(y.mean()),
        units,
        units,
        alpha,
        Resampling(seed=seed, time_ordered=True),
        lambda y, _: lambda counts: counts @ y / counts.sum(axis=1),
    )
