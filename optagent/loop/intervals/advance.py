"""Interval supervision: one pass over the intervals of a model, from the labels that have come to the thresholds.

A pass writes the journal: of two passes at once, one finds that it is no longer what it has read, and learns nothing.
The routing table follows the journal at the supervisor's next look.
"""

import asyncio
from dataclasses import replace

from optagent.analysis.performance import scorable_rows
from optagent.conformal.scores import nonconformity_scores
from optagent.conformal.tracker import IntervalTracker
from optagent.domain.model import ModelSpec, ModelVersion
from optagent.domain.prediction_interval import IntervalRecord, IntervalThresholds
from optagent.errors import Conflict, InvalidData, NotFound
from optagent.loop.intervals.alerts import reconcile_interval_alerts
from optagent.loop.intervals.learn import first_record, learn_rows
from optagent.loop.intervals.scored_rows import read_scored_rows, waiting_time_s
from optagent.loop.mixture.alerts import fault_of
from optagent.loop.mixture.ports import MixturePorts
from optagent.loop.observe.reference import decode_reference
from optagent.ports import Observations

_PASSES = 1_000  # of the time for which labels are waited for: those that come late are in no hurry


async def advance_intervals(spec: ModelSpec, champion: ModelVersion, ports: MixturePorts) -> IntervalThresholds | None:
    """The thresholds that are to answer for a model; None where it has no intervals.

    Learns first, where the last pass was long enough ago. A new champion starts from its own holdout. Raises
    InvalidData where that has too few labelled rows, or none are kept, and what the ports raise.
    """
    if not spec.intervals:
        return None
    record = await ports.store.intervals(spec.model_id)
    try:
        if record is None or record.version != champion.version:
            record = await _begin(champion, record, ports)
        every_s = max(ports.every_s, waiting_time_s(spec) / _PASSES)
        if not 0 <= ports.clock.now() - record.looked_at < every_s:
            record = await _pass(spec, champion, record, ports)
    except Conflict:  # another process was sooner
        record = await ports.store.intervals(spec.model_id)
    return None if record is None else record.published


async def _begin(champion: ModelVersion, before: IntervalRecord | None, ports: MixturePorts) -> IntervalRecord:
    """A journal that starts from the champion's holdout; the coverage of before stays on record."""
    tracker = await asyncio.to_thread(_start_tracker, champion, ports.observations)
    record = first_record(champion.model_id, champion.version, tracker, ports.clock.now())
    if before is not None:
        record = replace(record, covered=before.covered)
    await ports.store.save_intervals(record, before)
    return record


async def _pass(spec: ModelSpec, champion: ModelVersion, record: IntervalRecord, ports: MixturePorts) -> IntervalRecord:
    now, alerts = ports.clock.now(), await ports.store.alerts(spec.model_id)
    fault = fault_of(alerts)
    if fault:
        after = replace(record, looked_at=now, waits_for=fault)
    else:
        schema = await asyncio.to_thread(ports.schema_of, champion)
        await asyncio.to_thread(ports.observations.drain, spec.model_id)
        start = max(record.began_at, min(record.open_since, now), now - waiting_time_s(spec))
        rows = await asyncio.to_thread(read_scored_rows, ports.observations, spec, schema, start)
        after = await asyncio.to_thread(learn_rows, replace(record, waits_for=""), rows, now)
    await ports.store.save_intervals(after, record)
    await reconcile_interval_alerts(after, spec, alerts, ports.store, now)
    return after


def _start_tracker(champion: ModelVersion, observations: Observations) -> IntervalTracker:
    """A tracker of the labelled rows that a version was measured on, in the order of their time."""
    try:
        reference = decode_reference(observations.reference(champion.model_id, champion.version))
    except NotFound:
        raise InvalidData(
            f"{champion.model_id}: intervals start from the reference of version {champion.version}, and none is kept:"
            f" analyze the model once (optagent analyze {champion.model_id}), which makes it"
        ) from None
    observed, task = reference.observed, reference.schema.task
    usable = scorable_rows(observed)
    return IntervalTracker(task, nonconformity_scores(task, observed.prediction[usable], observed.y[usable]))
