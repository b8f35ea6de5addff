"""Redis processes: the records and leases of processes in Redis or Valkey.

Keys, below a prefix: `process:ID` (a record, with `ended` 0 or 1, `cancel` and `outcome`), `lease:ID` (expires when the
runner of the process stops renewing it), and sorted sets of ids by creation time: `processes`, `processes:MODEL`,
`processes:MODEL:KIND`, those that have not ended, `unended` and `unended:MODEL`, and those of them that a runner has
taken, `held`. Those that wait are in `waiting`, and in `stopping` once they were asked to stop, by their turn. `ended`
has those that ended last, by the time of their end.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

from optagent.adapters.state.process_lease import (
    apply_lease,
    checked_limit,
    checked_queued,
    claim_queued,
    lease_lost_message,
    milliseconds,
)
from optagent.adapters.state.redis import process_scripts as scripts
from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.adapters.state.store_errors import queue_full
from optagent.codec import encode
from optagent.domain.process import Process, Status
from optagent.domain.queue_order import turn_of
from optagent.errors import Conflict, LeaseLost, ProcessNotFound


@dataclass(frozen=True, slots=True)
class StoredProcess:
    """A process as a reader sees it; `stopping` is True once it was asked to stop."""

    process: Process
    stopping: bool


class RedisProcesses(RedisAdapter):
    """The part of a Store that keeps processes."""

    async def create_process(self, process: Process, lease_s: float) -> None:
        await self._create(process, milliseconds("lease_s", lease_s))

    async def enqueue_process(self, process: Process, max_queued: int | None = None) -> None:
        await self._create(checked_queued(process), 0, max_queued)

    async def claim_process(self, process_id: str, lease_s: float) -> Process:
        lease_ms = milliseconds("lease_s", lease_s)
        (record, lease), holder, writer = self._record_keys(process_id), secrets.token_hex(8), secrets.token_hex(8)

        async def try_claim() -> Process:
            while True:
                data: Any = await self._link.ask(lambda: self._link.redis.hget(record, "data"))
                leased = bool(await self._link.ask(lambda: self._link.redis.exists(lease)))
                if data is None:
                    raise ProcessNotFound(f"no process {process_id!r}")
                process = self._link.decode_record(Process, data, process_id)
                if process.holder == holder:  # the previous call succeeded, but its answer was lost
                    return process
                pending = claim_queued(process, leased, holder)
                digest = sha1(data, usedforsecurity=False).hexdigest()
                values = (encode(pending), digest, writer, *self._index_values(pending), lease_ms, holder)
                if await self._link.run(scripts.CLAIM, self._process_keys(pending), *values) == b"OK":
                    return pending

        return await self._link.ask(try_claim)

    async def save_process(self, process: Process) -> None:
        values = (process.holder, encode(process), _ended_flag(process), *self._index_values(process), process.outcome)
        answer = await self._link.run(scripts.SAVE, self._process_keys(process), *values)
        _raise_unless_held(process, answer)
        if answer == b"ENDED":
            raise Conflict(f"process {process.process_id!r} has ended already and cannot become {process.status}")

    async def renew_lease(self, process: Process, lease_s: float) -> None:
        values = (process.holder, milliseconds("lease_s", lease_s), "", *self._index_values(process))
        _raise_unless_held(process, await self._link.run(scripts.RENEW, self._process_keys(process), *values))

    async def process(self, process_id: str) -> Process:
        record, lease = self._record_keys(process_id)
        data, _, leased = (await self._link.ask(lambda: self._read_records([(record, lease)])))[0]
        if data is None:
            raise ProcessNotFound(f"no process {process_id!r}")
        return apply_lease(self._link.decode_record(Process, data, process_id), leased)

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        index = self._link.key("processes") if model_id is None else self._link.key("processes", model_id)
        return await self._read_newest_processes(index, limit)

    async def request_cancel(self, process_id: str) -> None:
        keys = (self._record_keys(process_id)[0], self._link.key("waiting"), self._link.key("stopping"))
        _raise_if_missing(process_id, await self._link.run(scripts.CANCEL, keys, process_id))

    async def cancel_requested(self, process_id: str) -> bool:
        record, _ = self._record_keys(process_id)
        return bool(await self._link.ask(lambda: self._link.redis.hexists(record, "cancel")))

    async def _create(self, process: Process, lease_ms: int, max_queued: int | None = None) -> None:
        values = (encode(process), _ended_flag(process), secrets.token_hex(8), *self._index_values(process))
        more = (process.outcome, lease_ms, "" if max_queued is None else max_queued)
        answer = await self._link.run(scripts.CREATE, self._process_keys(process), *values, *more)
        if answer == b"TAKEN":
            raise Conflict(f"process {process.process_id!r} exists already")
        if answer == b"FULL":
            assert max_queued is not None
            raise queue_full(max_queued)

    async def _read_newest_processes(self, index: str, limit: int) -> list[Process]:
        last = checked_limit(limit) - 1

        async def read_newest() -> list[StoredProcess | None]:
            ids: list[Any] = await self._link.redis.zrevrange(index, 0, last)
            return await self._read_processes([item.decode() for item in ids])

        return [stored.process for stored in await self._link.ask(read_newest) if stored is not None]

    async def _read_processes(self, ids: Sequence[str]) -> list[StoredProcess | None]:
        """The processes of these ids; None for one whose record is gone or cannot be decoded."""
        stored: list[StoredProcess | None] = []
        records = await self._read_records([self._record_keys(process_id) for process_id in ids])
        for process_id, (data, stopping, leased) in zip(ids, records, strict=True):
            process = None if data is None else self._link.decode_or_skip(Process, data, process_id)
            stored.append(None if process is None else StoredProcess(apply_lease(process, leased), stopping))
        return stored

    async def _read_records(self, keys: Sequence[tuple[str, str]]) -> list[tuple[bytes | None, bool, bool]]:
        """The data of records, whether a stop was requested, and whether a lease is there.

        In one transaction: a process that ends in between must not look as if only its lease were gone.
        """
        async with self._link.redis.pipeline(transaction=True) as pipe:
            for record, lease in keys:
                pipe.hmget(record, ["data", "cancel"])
                pipe.exists(lease)
            answers = await pipe.execute()
        pairs = zip(answers[::2], answers[1::2], strict=True)
        return [(data, cancel is not None, bool(leased)) for (data, cancel), leased in pairs]

    def _record_keys(self, process_id: str) -> tuple[str, str]:
        return self._link.key("process", process_id), self._link.key("lease", process_id)

    def _process_keys(self, process: Process) -> tuple[str, ...]:
        """The record, the lease and the indexes of a process, in the order of the scripts."""
        key, model_id = self._link.key, process.model_id
        indexes = (key("processes"), key("processes", model_id), key("processes", model_id, process.kind))
        unended = (key("unended"), key("unended", model_id), key("waiting"), key("held"), key("stopping"))
        return (*self._record_keys(process.process_id), *indexes, *unended, key("ended"))

    def _index_values(self, process: Process) -> tuple[str, str, str, str]:
        """The state, id, creation time and turn, or time of the end, by which the scripts index a process."""
        state, turn = "waiting" if process.status is Status.QUEUED else "held", turn_of(process)
        if process.status.has_ended:
            state, turn = "ended", process.updated_at
        return state, process.process_id, repr(process.created_at), repr(turn)


def _raise_if_missing(process_id: str, answer: bytes) -> None:
    if answer == b"MISSING":
        raise ProcessNotFound(f"no process {process_id!r}")


def _raise_unless_held(process: Process, answer: bytes) -> None:
    _raise_if_missing(process.process_id, answer)
    if answer == b"LOST":
        raise LeaseLost(lease_lost_message(process))


def _ended_flag(process: Process) -> int:
    return int(process.status.has_ended)
