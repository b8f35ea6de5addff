"""In-memory queue: the processes of one process's store that have not ended, and the counts of a model's runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optagent.adapters.state.process_lease import apply_lease, checked_limit
from optagent.adapters.state.unreadable import UnreadableRecords
from optagent.codec import decode
from optagent.domain.process import Process, ProcessSummary, Status
from optagent.domain.queue_order import QueueHead, turn_of
from optagent.ports import Clock


@dataclass(slots=True)
class ProcessRecord:
    """A process as JSON, with the fields by which it is found and those that are no part of it."""

    data: bytes
    created_at: float
    model_id: str
    kind: str
    ended: bool
    leased_until: float
    waiting: bool
    cancel: bool = False
    holder: str = ""
    outcome: str = ""


class InMemoryQueue:
    """The part of a Store that lists processes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._processes: dict[str, ProcessRecord] = {}
        self._unreadable = UnreadableRecords()

    def unreadable_records(self) -> list[str]:
        return self._unreadable.sentences()

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        return self._newest(lambda record: model_id in (None, record.model_id), limit)

    async def processes_of_kind(self, model_id: str, kind: str, limit: int = 100) -> list[Process]:
        return self._newest(lambda record: (record.model_id, record.kind) == (model_id, kind), limit)

    async def process_summaries(self, model_id: str, kind: str, since: float) -> list[ProcessSummary]:
        ids = [
            process_id
            for process_id in self._ids_newest_first()
            if (self._processes[process_id].model_id, self._processes[process_id].kind) == (model_id, kind)
        ]
        recent_ids = [process_id for process_id in ids if self._processes[process_id].created_at >= since]
        return [self._summary(process_id) for process_id in recent_ids or ids[:1]]

    async def latest_ends(self, limit: int = 100) -> list[Process]:
        processes = [process for name in self._processes if (process := self._read(name)) is not None]
        ended = [process for process in processes if process.status.has_ended]
        ended.sort(key=lambda process: (process.updated_at, process.process_id), reverse=True)
        return ended[: checked_limit(limit)]

    async def unended_processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        processes = [process for process in self._list_unended() if model_id in (None, process.model_id)]
        newest = sorted(processes, key=lambda process: (process.created_at, process.process_id), reverse=True)
        return newest[: checked_limit(limit)]

    async def queue_head(self, limit: int) -> QueueHead:
        checked_limit(limit)
        unended = self._list_unended()
        queued = sorted((process for process in unended if process.status is Status.QUEUED), key=_order)
        waiting = [process for process in queued if not self._processes[process.process_id].cancel]
        stopping = [process for process in queued if self._processes[process.process_id].cancel]
        running = [process for process in unended if process.status is not Status.QUEUED]
        return QueueHead(tuple(running), tuple(waiting[:limit]), tuple(stopping[:limit]))

    async def queue_places(self, process_ids: Sequence[str]) -> dict[str, int]:
        queued = sorted((process for process in self._list_unended() if process.status is Status.QUEUED), key=_order)
        places = {process.process_id: place for place, process in enumerate(queued, start=1)}
        return {process_id: places[process_id] for process_id in process_ids if process_id in places}

    def _decode_process(self, record: ProcessRecord) -> Process:
        return apply_lease(decode(Process, record.data), leased=self._clock.now() < record.leased_until)

    def _read(self, process_id: str) -> Process | None:
        record = self._processes[process_id]
        return self._unreadable.decode_or_skip(Process, process_id, lambda: self._decode_process(record))

    def _newest(self, is_asked_for: Callable[[ProcessRecord], bool], limit: int) -> list[Process]:
        ids = [process_id for process_id in self._ids_newest_first() if is_asked_for(self._processes[process_id])]
        return [process for name in ids[: checked_limit(limit)] if (process := self._read(name)) is not None]

    def _ids_newest_first(self) -> list[str]:
        return sorted(self._processes, key=lambda name: (self._processes[name].created_at, name), reverse=True)

    def _list_unended(self) -> list[Process]:
        processes = [self._read(process_id) for process_id, record in self._processes.items() if not record.ended]
        return [process for process in processes if process is not None and not process.status.has_ended]

    def _summary(self, process_id: str) -> ProcessSummary:
        record = self._processes[process_id]
        process = None if record.ended else self._read(process_id)
        has_ended = process is None or process.status.has_ended
        return ProcessSummary(process_id, record.created_at, has_ended, record.outcome)


def _order(process: Process) -> tuple[float, str]:
    return turn_of(process), process.process_id
