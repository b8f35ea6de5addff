"""Running detector of concept drift: its state, which the store keeps between the windows of the monitor.

Each row of the champion is taken once, in the order of requests, when the time for its label is over: a label that
comes later counts no more, and one that came early waits, since labels in order of arrival are no fair sample.
A new champion, or a new reference, begins anew. An alarm stands until an optimization that was asked for after it has
ended, or until its evidence has faded; then the detector begins anew with the rows to come.
"""

import asyncio
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optagent.analysis.concept_drift import (
    LossBaseline,
    direction_of,
    excess_loss,
    loss_baseline,
    loss_name,
    row_losses,
)
from optagent.analysis.loss_watch import LossWatch, started_watch
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import scorable_rows
from optagent.codec import decode, plain
from optagent.domain.concept_drift import ConceptDrift, DriftState
from optagent.domain.model import CHAMPION
from optagent.domain.monitoring import Window
from optagent.errors import InvalidRequest
from optagent.loop.context import Ports
from optagent.loop.observe.inputs import AnalysisInputs
from optagent.loop.observe.reference import baseline_of_reference
from optagent.loop.observe.window_rows import MOST_ROWS, observe_window
from optagent.ports import Observations, Store

_ENOUGH_ROWS = 20_000  # with so many, the reach of a memory that is still unknown stays so
_LEARNED_S = 21 * 86_400.0  # three weeks, since two tell a weekday from chance but hardly its size
_MOST_LEARNED = 200_000


@dataclass(frozen=True, slots=True)
class DetectorState:
    """The running detector of one version against one reference, in plain values. Times are POSIX seconds.

    `until` is the time up to which rows were taken. While `watch` is None, the rows since `learning_since` are to teach
    what the reference is too short for. `alarm` stands since `raised_at`.
    """

    version: str
    reference: str
    until: float
    unit: float = 1.0
    watch: LossWatch | None = None
    learning_since: float | None = None
    doubt: str = ""
    alarm: ConceptDrift | None = None
    raised_at: float | None = None


async def run_detector(inputs: AnalysisInputs, ports: Ports) -> ConceptDrift | None:
    """Takes the rows of the champion whose labels are due by now, and returns the verdict; None for other versions."""
    if inputs.command.version != CHAMPION:
        return None
    observations: Observations = ports.require("observations")
    state = await _load_state(inputs, ports.store)
    if state is None:
        return None
    if state.watch is not None and state.raised_at is not None:
        watch = state.watch.renew(await _has_ended_run(inputs.spec.model_id, state.raised_at, ports.store))
        if watch.alarmed_at is None:
            state = replace(state, watch=watch, alarm=None, raised_at=None)
    state = await asyncio.to_thread(advance_detector, state, inputs, observations)
    await ports.store.save_detector(inputs.spec.model_id, plain(state))
    return _verdict(state, inputs)


async def standing_alarm(inputs: AnalysisInputs, ports: Ports) -> ConceptDrift | None:
    """The alarm of the running detector that stands for the champion, None without one; no row is taken."""
    if inputs.command.version != CHAMPION:
        return None
    state = _decode_state(await ports.store.detector(inputs.spec.model_id))
    return state.alarm if state is not None and _fits(state, inputs) else None


def advance_detector(state: DetectorState, inputs: AnalysisInputs, observations: Observations) -> DetectorState:
    """The state after the rows whose labels are due at the time of the inputs; reads them."""
    due = inputs.now - inputs.spec.label_delay_s
    if due <= state.until:
        return state
    if state.watch is None:
        return _learn(state, inputs, observations, due)
    rows, _ = _rows_between(inputs, observations, state.until, due)
    until = _settled_time(rows, inputs, due)
    if until is None:
        return state
    rows = rows.where(scorable_rows(rows) & (rows.time < until))
    every_s = inputs.monitoring.false_alarm_every_s
    watch = state.watch.after(row_losses(rows, state.unit), rows.time, until, every_s)
    state = replace(state, until=until, watch=watch)
    if watch.alarmed_at is None or state.alarm is not None:
        return state
    return replace(state, alarm=_measure_alarm(state, watch, inputs, observations), raised_at=inputs.now)


async def _load_state(inputs: AnalysisInputs, store: Store) -> DetectorState | None:
    """The stored state, or a new one; None where nothing can be watched, for want of labels in the reference."""
    state = _decode_state(await store.detector(inputs.spec.model_id))
    if state is not None and _fits(state, inputs):
        return state
    due = inputs.now - inputs.spec.label_delay_s
    until = min(inputs.window.start, due - inputs.monitoring.window_s) if state is None else state.until
    baseline = await asyncio.to_thread(baseline_of_reference, inputs.reference)
    if baseline is None:
        return None
    first = DetectorState(inputs.reference.version, inputs.reference.digest, until, baseline.unit)
    if not inputs.spec.rows_in_time_order and must_learn(baseline):
        return replace(first, learning_since=until, doubt=baseline.blocks.doubt)
    return replace(first, watch=started_watch(baseline.blocks, until))


def _decode_state(data: Any) -> DetectorState | None:
    """The stored state; None where there is none, or another version of optagent wrote it."""
    try:
        return None if data is None else decode(DetectorState, data)
    except InvalidRequest:
        return None


def _fits(state: DetectorState, inputs: AnalysisInputs) -> bool:
    return (state.version, state.reference) == (inputs.reference.version, inputs.reference.digest)


async def _has_ended_run(model_id: str, since: float, store: Store) -> bool:
    """True where an optimization that was asked for since that time has ended."""
    summaries = await store.process_summaries(model_id, "optimize", since)
    return any(summary.has_ended and summary.created_at >= since for summary in summaries)


def _rows_between(
    inputs: AnalysisInputs, observations: Observations, start: float, end: float, most: int = MOST_ROWS
) -> tuple[ObservedRows, float]:
    """The champion's rows of a stretch of time, without features, which no loss needs; of one in so many rows."""
    schema = replace(inputs.reference.schema, columns=())
    version = None if inputs.is_served_elsewhere else inputs.reference.version
    rows, quality = observe_window(observations, inputs.spec.model_id, schema, Window(start, end), version, most)
    return rows, quality.rows / quality.sampled if quality.sampled else 1.0


def _settled_time(rows: ObservedRows, inputs: AnalysisInputs, due: float) -> float | None:
    """The time up to which rows can be taken: where nothing says when labels come, that of the newest that came."""
    if isinstance(inputs.spec.label_horizon, str):
        return due
    labelled = rows.time[rows.has_label]
    return math.nextafter(float(labelled[-1]), math.inf) if len(labelled) else None


def _learn(state: DetectorState, inputs: AnalysisInputs, observations: Observations, due: float) -> DetectorState:
    """The state with a watch as soon as live rows tell what the reference is too short for, or are enough to give up.

    The baseline is then that of these rows: a change that was there from the first of them is not seen.
    """
    assert state.learning_since is not None
    rows, every = _rows_between(inputs, observations, state.learning_since, due, _MOST_LEARNED)
    until = _settled_time(rows, inputs, due)
    rows = rows.where(scorable_rows(rows) & (rows.time < (due if until is None else until)))
    if until is None or not len(rows):
        return state if until is None else replace(state, until=until)
    state = replace(state, until=until, learning_since=max(state.learning_since, float(rows.time[0])))
    baseline = learned_baseline(rows, until, inputs.monitoring.false_alarm_every_s, every)
    if baseline is None:
        return state
    blocks = replace(baseline.blocks, doubt=_learned_text(state, rows, baseline))
    return replace(state, unit=baseline.unit, watch=started_watch(blocks, until), learning_since=None)


def learned_baseline(
    rows: ObservedRows, until: float, false_alarm_every_s: float, every: float = 1.0
) -> LossBaseline | None:
    """The baseline by the labelled live rows up to `until`; None as long as more of them would tell more."""
    lasted_s = until - float(rows.time[0])
    if lasted_s < _LEARNED_S:
        return None
    baseline = loss_baseline(rows, timed=True, every=every)
    if baseline is None or (must_learn(baseline) and lasted_s < false_alarm_every_s):
        return None
    return baseline


def must_learn(baseline: LossBaseline) -> bool:
    """True where live rows may tell what the rows of a baseline are too short for."""
    blocks = baseline.blocks
    return not blocks.knows_weeks or (not blocks.settled and blocks.rows < _ENOUGH_ROWS)


def _learned_text(state: DetectorState, rows: ObservedRows, baseline: LossBaseline) -> str:
    days = (float(rows.time[-1]) - float(rows.time[0])) / 86_400
    left = f", though of these too {baseline.blocks.doubt}" if baseline.blocks.doubt else ""
    return f"the reference was too short ({state.doubt}): the first {days:.1f} days took its place{left}"


def _measure_alarm(
    state: DetectorState, watch: LossWatch, inputs: AnalysisInputs, observations: Observations
) -> ConceptDrift:
    """The verdict of a new alarm, with the size of the rise by all rows since its likeliest start."""
    assert watch.changed_at is not None
    rows, _ = _rows_between(inputs, observations, watch.changed_at, watch.until)
    rows = rows.where(scorable_rows(rows))
    before = inputs.reference.observed
    before = before.where(scorable_rows(before))
    losses = row_losses(rows, state.unit) if len(rows) else np.empty(0)
    verdict = watch.verdict(inputs.monitoring.false_alarm_every_s)
    if len(losses) < 2:
        return verdict
    blocks = watch.detector.baseline
    excess = excess_loss(row_losses(before, state.unit), losses, blocks, inputs.command.seed)
    return replace(verdict, excess=excess, direction=direction_of(excess))


def _verdict(state: DetectorState, inputs: AnalysisInputs) -> ConceptDrift:
    loss = loss_name(inputs.spec.task)
    if state.watch is None:
        reason = f"the reference is too short: {state.doubt}; the detector learns from live rows first"
        return ConceptDrift(DriftState.INSUFFICIENT, reason=reason, loss=loss, running=True, caveat=state.doubt)
    now = state.watch.verdict(inputs.monitoring.false_alarm_every_s)
    if state.alarm is not None:
        now = replace(now, excess=state.alarm.excess, direction=state.alarm.direction)
    return replace(now, loss=loss)
