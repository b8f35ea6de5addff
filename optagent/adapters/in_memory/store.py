"""In-memory store: the `Store` port in one process, with models, processes, rollouts, reports and alerts."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from optagent.adapters.in_memory.audit import InMemoryAudit
from optagent.adapters.in_memory.ledger import InMemoryLedger
from optagent.adapters.in_memory.once import InMemoryOnce
from optagent.adapters.in_memory.queue import InMemoryQueue, ProcessRecord
from optagent.adapters.state.alert_order import retention_cutoff, sort_alerts
from optagent.adapters.state.audit_bounds import MAX_LINKS
from optagent.adapters.state.process_lease import (
    checked_lease,
    checked_limit,
    checked_queued,
    claim_queued,
    lease_lost_message,
)
from optagent.adapters.state.store_errors import (
    another_rollout_active,
    checked_interval_successor,
    checked_mixture_successor,
    checked_model_successor,
    checked_successor,
    model_exists,
    no_model,
    no_rollout,
    queue_full,
    rollout_exists,
)
from optagent.codec import decode, encode
from optagent.domain.alert import Alert
from optagent.domain.label_maturity import LabelHistory
from optagent.domain.mixture import MixtureRecord
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import WatchMark
from optagent.domain.prediction_interval import IntervalRecord
from optagent.domain.process import Process, Status
from optagent.domain.quality_point import MOST_POINTS, QualityPoint
from optagent.domain.rollout import Rollout
from optagent.domain.vital_signs import StoreMemory
from optagent.errors import Conflict, LeaseLost, ProcessNotFound
from optagent.ports import Clock

Entity = TypeVar("Entity")


@dataclass(frozen=True, slots=True)
class _RolloutRecord:
    data: bytes
    model_id: str
    started_at: float


class InMemoryStore(InMemoryQueue, InMemoryLedger, InMemoryAudit, InMemoryOnce):
    """A Store that is lost with its process. It keeps JSON, like the Redis store, so that both answer alike."""

    def __init__(self, clock: Clock, audit_kept: int = MAX_LINKS) -> None:
        super().__init__(clock)
        InMemoryLedger.__init__(self)
        InMemoryAudit.__init__(self, audit_kept)
        self._models: dict[str, bytes] = {}
        self._reports: dict[str, tuple[str, bytes]] = {}
        self._quality: dict[str, dict[float, bytes]] = {}
        self._watch_marks: dict[str, bytes] = {}
        self._label_histories: dict[str, bytes] = {}
        self._detectors: dict[str, str] = {}
        self._mixtures: dict[str, bytes] = {}
        self._intervals: dict[str, bytes] = {}
        self._alerts: dict[str, tuple[str, bytes, float | None]] = {}
        self._rollouts: dict[str, _RolloutRecord] = {}
        self._first_times: dict[str, float] = {}

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def memory(self) -> StoreMemory:
        return StoreMemory()

    async def save_model(self, spec: ModelSpec) -> None:
        self._models[spec.model_id] = encode(spec)

    async def create_model(self, spec: ModelSpec) -> None:
        if spec.model_id in self._models:
            raise model_exists(spec.model_id)
        await self.save_model(spec)

    async def replace_model(self, spec: ModelSpec, before: ModelSpec) -> None:
        stored = await self.model(spec.model_id)
        await self.save_model(checked_model_successor(spec, before, stored))

    async def model(self, model_id: str) -> ModelSpec:
        if model_id not in self._models:
            raise no_model(model_id)
        return decode(ModelSpec, self._models[model_id])

    async def models(self) -> list[ModelSpec]:
        return self._decode_all(ModelSpec, dict(sorted(self._models.items())))

    async def create_process(self, process: Process, lease_s: float) -> None:
        self._create(process, self._clock.now() + checked_lease(lease_s))

    async def enqueue_process(self, process: Process, max_queued: int | None = None) -> None:
        waiting_count = sum(record.waiting for record in self._processes.values())
        if max_queued is not None and process.process_id not in self._processes and waiting_count >= max_queued:
            raise queue_full(max_queued)
        self._create(checked_queued(process), leased_until=float("-inf"))

    async def claim_process(self, process_id: str, lease_s: float) -> Process:
        until = self._clock.now() + checked_lease(lease_s)
        record = self._find_record(process_id)
        leased = self._clock.now() < record.leased_until
        claimed = claim_queued(decode(Process, record.data), leased, secrets.token_hex(8))
        record.data, record.leased_until, record.holder = encode(claimed), until, claimed.holder
        record.waiting = False
        return claimed

    async def save_process(self, process: Process) -> None:
        record = self._find_held(process)
        if record.ended and not process.status.has_ended:
            raise Conflict(f"process {process.process_id!r} has ended already and cannot become {process.status}")
        record.data, record.ended = encode(process), process.status.has_ended
        record.waiting, record.outcome = process.status is Status.QUEUED, process.outcome

    async def renew_lease(self, process: Process, lease_s: float) -> None:
        until = self._clock.now() + checked_lease(lease_s)
        self._find_held(process).leased_until = until

    async def process(self, process_id: str) -> Process:
        return self._decode_process(self._find_record(process_id))

    async def old_processes(self, model_id: str, before: float, limit: int = 1000) -> list[Process]:
        oldest = sorted(self._processes.items(), key=lambda item: (item[1].created_at, item[0]))
        names = [name for name, record in oldest if record.model_id == model_id and record.created_at < before]
        return [process for name in names[: checked_limit(limit)] if (process := self._read(name)) is not None]

    async def drop_processes(self, processes: Sequence[Process]) -> int:
        names = [process.process_id for process in processes if process.process_id in self._processes]
        ended = [name for name in names if self._decode_process(self._processes[name]).status.has_ended]
        for name in ended:
            del self._processes[name]
        return len(ended)

    async def request_cancel(self, process_id: str) -> None:
        self._find_record(process_id).cancel = True

    async def cancel_requested(self, process_id: str) -> bool:
        return process_id in self._processes and self._processes[process_id].cancel

    async def save_report(self, key: str, digest: str, report: ModelReport) -> None:
        self._reports[key] = (digest, encode(report))

    async def find_report(self, key: str, digest: str) -> ModelReport | None:
        stored_digest, data = self._reports.get(key, (None, b""))
        return decode(ModelReport, data) if stored_digest == digest else None

    async def save_quality(self, model_id: str, points: Sequence[QualityPoint]) -> None:
        stored = self._quality.get(model_id, {}) | {point.window.end: encode(point) for point in points}
        self._quality[model_id] = dict(sorted(stored.items())[-MOST_POINTS:])

    async def quality(
        self, model_ids: Sequence[str], since: float = 0.0, most: int = MOST_POINTS
    ) -> dict[str, list[QualityPoint]]:
        newest = {
            model_id: [data for end, data in self._quality.get(model_id, {}).items() if end >= since][
                -checked_limit(most) :
            ]
            for model_id in model_ids
        }
        return {model_id: [decode(QualityPoint, data) for data in points] for model_id, points in newest.items()}

    async def save_watch_mark(self, model_id: str, mark: WatchMark) -> None:
        self._watch_marks[model_id] = encode(mark)

    async def watch_mark(self, model_id: str) -> WatchMark:
        return decode(WatchMark, self._watch_marks[model_id]) if model_id in self._watch_marks else WatchMark()

    async def save_label_history(self, model_id: str, history: LabelHistory) -> None:
        self._label_histories[model_id] = encode(history)

    async def label_history(self, model_id: str) -> LabelHistory:
        data = self._label_histories.get(model_id)
        return LabelHistory() if data is None else decode(LabelHistory, data)

    async def save_detector(self, model_id: str, state: Mapping[str, Any]) -> None:
        self._detectors[model_id] = json.dumps(state)

    async def detector(self, model_id: str) -> Mapping[str, Any] | None:
        return decode(dict, self._detectors[model_id]) if model_id in self._detectors else None

    async def save_mixture(self, record: MixtureRecord, before: MixtureRecord | None) -> None:
        stored = await self.mixture(record.model_id)
        self._mixtures[record.model_id] = encode(checked_mixture_successor(record, before, stored))

    async def mixture(self, model_id: str) -> MixtureRecord | None:
        return decode(MixtureRecord, self._mixtures[model_id]) if model_id in self._mixtures else None

    async def save_intervals(self, record: IntervalRecord, before: IntervalRecord | None) -> None:
        stored = await self.intervals(record.model_id)
        self._intervals[record.model_id] = encode(checked_interval_successor(record, before, stored))

    async def intervals(self, model_id: str) -> IntervalRecord | None:
        return decode(IntervalRecord, self._intervals[model_id]) if model_id in self._intervals else None

    async def save_alerts(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            self._alerts[alert.alert_id] = (alert.model_id, encode(alert), alert.resolved_at)
        for model_id in {alert.model_id for alert in alerts}:
            before = retention_cutoff([alert for alert in alerts if alert.model_id == model_id])
            for alert_id, (owner, _, resolved_at) in list(self._alerts.items()):
                if owner == model_id and resolved_at is not None and resolved_at < before:
                    del self._alerts[alert_id]

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        records = {name: data for name, (owner, data, _) in self._alerts.items() if model_id in (None, owner)}
        return sort_alerts(self._decode_all(Alert, records), limit)

    async def create_rollout(self, rollout: Rollout) -> None:
        if rollout.rollout_id in self._rollouts:
            raise rollout_exists(rollout)
        for other in await self.rollouts(rollout.model_id, max(1, len(self._rollouts))):
            if other.state.is_active:
                raise another_rollout_active(rollout, other.rollout_id)
        self._store_rollout(rollout)

    async def save_rollout(self, rollout: Rollout, before: Rollout) -> None:
        stored = await self.rollout(rollout.rollout_id)
        self._store_rollout(checked_successor(rollout, before, stored))

    async def rollout(self, rollout_id: str) -> Rollout:
        if rollout_id not in self._rollouts:
            raise no_rollout(rollout_id)
        return decode(Rollout, self._rollouts[rollout_id].data)

    async def rollouts(self, model_id: str | None = None, limit: int = 100) -> list[Rollout]:
        names = sorted(self._rollouts, key=lambda name: (self._rollouts[name].started_at, name), reverse=True)
        names = [name for name in names if model_id in (None, self._rollouts[name].model_id)][: checked_limit(limit)]
        if model_id is not None and names:
            await self.rollout(names[0])
        return self._decode_all(Rollout, {name: self._rollouts[name].data for name in names})

    def _store_rollout(self, rollout: Rollout) -> None:
        record = _RolloutRecord(encode(rollout), rollout.model_id, rollout.started_at)
        self._rollouts[rollout.rollout_id] = record

    def _decode_all(self, kind: type[Entity], records: Mapping[str, bytes]) -> list[Entity]:
        return self._unreadable.decode_all(kind, records, lambda data, _: decode(kind, data))

    async def drop_rollouts(self, rollouts: Sequence[Rollout]) -> int:
        names = [rollout.rollout_id for rollout in rollouts if rollout.rollout_id in self._rollouts]
        ended = [name for name in names if not decode(Rollout, self._rollouts[name].data).state.is_active]
        for name in ended:
            del self._rollouts[name]
        return len(ended)

    def _create(self, process: Process, leased_until: float) -> None:
        if process.process_id in self._processes:
            raise Conflict(f"process {process.process_id!r} exists already")
        self._processes[process.process_id] = ProcessRecord(
            encode(process),
            process.created_at,
            process.model_id,
            process.kind,
            process.status.has_ended,
            leased_until,
            process.status is Status.QUEUED,
            outcome=process.outcome,
        )

    def _find_record(self, process_id: str) -> ProcessRecord:
        if process_id not in self._processes:
            raise ProcessNotFound(f"no process {process_id!r}")
        return self._processes[process_id]

    def _find_held(self, process: Process) -> ProcessRecord:
        record = self._find_record(process.process_id)
        if record.holder and record.holder != process.holder:
            raise LeaseLost(lease_lost_message(process))
        return record
