"""Models, processes, reports and alerts in the memory of one process."""

from collections.abc import Sequence
from dataclasses import dataclass

from optagent.adapters.state.alerts import forgotten_before, in_order
from optagent.adapters.state.lease import as_seen, checked_lease, checked_limit
from optagent.codec import decode, encode
from optagent.domain.alert import Alert
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.process import Process
from optagent.errors import Conflict, ModelNotFound, ProcessNotFound
from optagent.ports import Clock


@dataclass
class _Kept:
    data: bytes
    created_at: float
    model_id: str
    ended: bool
    leased_until: float
    cancel: bool = False


class InMemoryStore:
    """A Store that dies with its process. It keeps JSON, as the real one does, so that both answer alike."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._models: dict[str, bytes] = {}
        self._processes: dict[str, _Kept] = {}
        self._reports: dict[str, tuple[str, bytes]] = {}
        self._alerts: dict[str, tuple[str, bytes, float | None]] = {}

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def save_model(self, spec: ModelSpec) -> None:
        self._models[spec.model_id] = encode(spec)

    async def model(self, model_id: str) -> ModelSpec:
        if model_id not in self._models:
            raise ModelNotFound(f"no model {model_id!r}")
        return decode(ModelSpec, self._models[model_id])

    async def models(self) -> list[ModelSpec]:
        return [decode(ModelSpec, self._models[model_id]) for model_id in sorted(self._models)]

    async def create_process(self, process: Process, lease_s: float) -> None:
        until = self._clock.now() + checked_lease(lease_s)
        if process.process_id in self._processes:
            raise Conflict(f"process {process.process_id!r} exists already")
        self._processes[process.process_id] = _Kept(
            encode(process), process.created_at, process.model_id, process.status.ended, until
        )

    async def save_process(self, process: Process) -> None:
        kept = self._kept(process.process_id)
        if kept.ended and not process.status.ended:
            raise Conflict(f"process {process.process_id!r} has ended already and cannot become {process.status}")
        kept.data, kept.ended = encode(process), process.status.ended

    async def renew_lease(self, process_id: str, lease_s: float) -> None:
        until = self._clock.now() + checked_lease(lease_s)
        self._kept(process_id).leased_until = until

    async def process(self, process_id: str) -> Process:
        return self._seen(self._kept(process_id))

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        newest = sorted(self._processes.items(), key=lambda item: (item[1].created_at, item[0]), reverse=True)
        chosen = [kept for _, kept in newest if model_id is None or kept.model_id == model_id]
        return [self._seen(kept) for kept in chosen[: checked_limit(limit)]]

    async def request_cancel(self, process_id: str) -> None:
        self._kept(process_id).cancel = True

    async def cancel_requested(self, process_id: str) -> bool:
        return process_id in self._processes and self._processes[process_id].cancel

    async def save_report(self, key: str, digest: str, report: ModelReport) -> None:
        self._reports[key] = (digest, encode(report))

    async def report(self, key: str, digest: str) -> ModelReport | None:
        of, data = self._reports.get(key, (None, b""))
        return decode(ModelReport, data) if of == digest else None

    async def save_alerts(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            self._alerts[alert.alert_id] = (alert.model_id, encode(alert), alert.resolved_at)
        for model_id in {alert.model_id for alert in alerts}:
            before = forgotten_before([alert for alert in alerts if alert.model_id == model_id])
            for alert_id, (of, _, resolved_at) in list(self._alerts.items()):
                if of == model_id and resolved_at is not None and resolved_at < before:
                    del self._alerts[alert_id]

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        kept = [data for of, data, _ in self._alerts.values() if model_id in (None, of)]
        return in_order((decode(Alert, data) for data in kept), limit)

    def _kept(self, process_id: str) -> _Kept:
        if process_id not in self._processes:
            raise ProcessNotFound(f"no process {process_id!r}")
        return self._processes[process_id]

    def _seen(self, kept: _Kept) -> Process:
        return as_seen(decode(Process, kept.data), leased=self._clock.now() < kept.leased_until)
