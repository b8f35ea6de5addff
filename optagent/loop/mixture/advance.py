"""Mixture supervision: one pass over the mixture of a model, from the labels that have come to the weights that answer.

The journal is written first, with the rows that it has learned and the weights that are to answer. The archive and the
audit log follow, then the journal is marked as settled. After a kill between any two of these writes, the next pass
does the rest: rows are archived again, which readers count once by their ids, and an audit entry may appear twice. Of
two learners at once, one finds that the journal is no longer what it has read, and learns nothing.
"""

import asyncio
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.analysis.label_join import concat_texts
from optagent.domain.audit import AuditEntry
from optagent.domain.mixture import BEGAN, MixtureEvent, MixtureMode, MixtureRecord, MixtureWeights
from optagent.domain.model import ModelSpec, ModelVersion, Task
from optagent.domain.rollout import AUTOMATIC
from optagent.errors import Conflict, InvalidData, NotFound, Unavailable
from optagent.loop.mixture.alerts import fault_of, reconcile_alerts
from optagent.loop.mixture.answered_rows import read_answered_rows, unpack_table
from optagent.loop.mixture.harm import harm_event, watch_harm
from optagent.loop.mixture.learn import follow_policy, learn_rows, version_of
from optagent.loop.mixture.ports import MixturePorts
from optagent.loop.observe.reference import decode_reference
from optagent.mixing.learner import MixtureLearner, form_of_state
from optagent.ports import Observations, RecordKind, Registry
from optagent.serving.evidence_record import count_outputs

PUBLISHED = "mixture.weights"
"""The action of the audit entry of new weights."""

HARMED = "mixture.harmed"
"""The action of the audit entry by which the champion answers alone, since a metric of the user's has fallen."""

_MOST_DRAINS = 20  # of a million rows each; others go on recording meanwhile
_QUANTILES = (0.005, 0.995)


async def advance_mixture(spec: ModelSpec, champion: ModelVersion, ports: MixturePorts) -> MixtureWeights | None:
    """The weights that are to answer for a model; None where its champion answers alone.

    Learns first, where the last pass was long enough ago. Where another process was sooner, its weights count. Raises
    what the ports raise.
    """
    if spec.policy is None or not spec.policy.is_mixed:
        return None
    try:
        record = await _bring_up_to_date(spec, champion, ports)
    except Conflict:
        stored = await ports.store.mixture(spec.model_id)
        if stored is None:
            raise
        record = stored
    return None if record.mode is MixtureMode.CHAMPION_ONLY else record.published


async def _bring_up_to_date(spec: ModelSpec, champion: ModelVersion, ports: MixturePorts) -> MixtureRecord:
    record = await ports.store.mixture(spec.model_id)
    if record is None:
        record = await begin_mixture(spec, champion, ports)
    if not record.is_settled:
        record = await settle(record, ports)
    is_early = 0 <= ports.clock.now() - record.looked_at < ports.every_s
    if not is_early or record.published is None:
        record = await _pass(spec, champion, record, ports)
    return record


async def settle(record: MixtureRecord, ports: MixturePorts) -> MixtureRecord:
    """Archives the rows that were learned, logs the weights that are to answer, and marks the journal as settled."""
    rows = unpack_table(record.pending)
    if rows is not None:
        await asyncio.to_thread(_archive_rows, record.model_id, rows, ports.observations)
    if record.published is not None and record.published_at == record.looked_at:
        await ports.store.append_audit(_audit_entry(record, record.published))
    harm = harm_event(record)
    if harm is not None and harm.at == record.looked_at:
        await ports.store.append_audit(AuditEntry(harm.at, AUTOMATIC, HARMED, record.model_id, detail=harm.detail))
    settled = replace(record, pending="", is_settled=True)
    await ports.store.save_mixture(settled, record)
    return settled


def _archive_rows(model_id: str, rows: pa.Table, observations: Observations) -> None:
    """Archives learned rows; raises Unavailable until they are there, since the next pass would learn them again."""
    observations.record(model_id, RecordKind.LEARNED, rows)
    left = rows.num_rows
    for _ in range(_MOST_DRAINS):
        moved = observations.drain(model_id)
        left = _count_unarchived(model_id, rows, observations)
        if not left:
            return
        if not moved:
            break
    raise Unavailable(f"{model_id}: {left:,} rows that its mixture has learned are not archived yet; try again")


def _count_unarchived(model_id: str, rows: pa.Table, observations: Observations) -> int:
    oldest = pc.min(rows["time"].cast(pa.int64())).as_py() / 1e6 - 1.0
    known = concat_texts([table["id"] for table in observations.learned_rows(model_id, oldest)])
    return int(pc.sum(pc.invert(pc.is_in(rows["id"], value_set=known))).as_py())


async def begin_mixture(spec: ModelSpec, champion: ModelVersion, ports: MixturePorts) -> MixtureRecord:
    """A new journal, in which every slot stands for the champion; Conflict where there is one already."""
    assert spec.policy is not None
    schema, now = await asyncio.to_thread(ports.schema_of, champion), ports.clock.now()
    low, high = 0.0, 1.0
    if spec.task is Task.REGRESSION:
        low, high = await asyncio.to_thread(_range_of_targets, champion, ports.observations)
    outputs = count_outputs(spec.task, schema.classes)
    slots = spec.policy.slots
    learner = MixtureLearner(spec.task, slots, outputs, low, high)
    began = MixtureEvent(now, AUTOMATIC, BEGAN, 0, {"slots": list(slots)})
    record = MixtureRecord(spec.model_id, now, learner.to_plain(), open_since=now, events=(began,))
    await ports.store.save_mixture(record, None)
    return record


async def _pass(spec: ModelSpec, champion: ModelVersion, record: MixtureRecord, ports: MixturePorts) -> MixtureRecord:
    schema = await asyncio.to_thread(ports.schema_of, champion)
    now, form = ports.clock.now(), form_of_state(record.state)
    await asyncio.to_thread(ports.observations.drain, spec.model_id)
    answered = await asyncio.to_thread(read_answered_rows, ports.observations, spec, schema, form, record, now)
    assert spec.policy is not None
    record_now = follow_policy(record, spec.policy.slots, now)
    missing = await asyncio.to_thread(_missing_versions, record_now, ports.registry)
    alerts = await ports.store.alerts(spec.model_id)
    fault = fault_of(alerts)
    learned = await asyncio.to_thread(learn_rows, record_now, answered, champion.version, now, fault, missing)
    after = watch_harm(learned.record, learned.rows, spec, schema, form, now)
    await ports.store.save_mixture(after, record)
    after = after if after.is_settled else await settle(after, ports)
    await reconcile_alerts(after, alerts, ports.store, now)
    return after


def _missing_versions(record: MixtureRecord, registry: Registry) -> frozenset[str]:
    """The versions of slots that have left the registry."""
    own = frozenset(version for slot in record.state["slots"] if (version := version_of(slot, record)))
    return own and own - {version.version for version in registry.versions(record.model_id)}


def _range_of_targets(champion: ModelVersion, observations: Observations) -> tuple[float, float]:
    """The quantiles .005 and .995 of the targets of the champion's reference."""
    try:
        reference = decode_reference(observations.reference(champion.model_id, champion.version))
    except NotFound:
        raise InvalidData(
            f"{champion.model_id}: a mixture of a regression needs the reference of version {champion.version}, whose"
            " targets bound its answers, and none is kept"
        ) from None
    low, high = np.nanquantile(reference.observed.y, _QUANTILES)
    return float(low), float(high)


def _audit_entry(record: MixtureRecord, weights: MixtureWeights) -> AuditEntry:
    detail = {
        "digest": weights.digest,
        "passes": record.passes,
        "rows": weights.learned,
        "slots": dict(zip(weights.slots, weights.versions, strict=True)),
        "guard": weights.guard,
    }
    return AuditEntry(record.published_at, AUTOMATIC, PUBLISHED, record.model_id, detail=detail)
