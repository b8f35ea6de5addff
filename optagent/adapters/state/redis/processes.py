"""Redis processes: the records and leases of processes in Redis or Valkey.

Keys, below a prefix: `process:ID` (a record, with `ended` 0 or 1 and `cancel`), `lease:ID` (expires when the runner of
the process stops renewing it), `processes` and `processes:MODEL` (sorted sets of ids by creation time).
"""

import secrets
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
from optagent.adapters.state.redis import scripts
from optagent.adapters.state.redis.connection import RedisAdapter
from optagent.codec import encode
from optagent.domain.process import Process
from optagent.errors import Conflict, LeaseLost, ProcessNotFound


class RedisProcesses(RedisAdapter):
    """The part of a Store that keeps processes."""

    async def create_process(self, process: Process, lease_s: float) -> None:
        await self._create(process, milliseconds("lease_s", lease_s))

    async def enqueue_process(self, process: Process) -> None:
        await self._create(checked_queued(process), 0)

    async def claim_process(self, process_id: str, lease_s: float) -> Process:
        lease_ms = milliseconds("lease_s", lease_s)
        keys, holder, writer = self._process_keys(process_id), secrets.token_hex(8), secrets.token_hex(8)

        async def try_claim() -> Process:
            while True:
                data: Any = await self._link.ask(lambda: self._link.redis.hget(keys[0], "data"))
                leased = bool(await self._link.ask(lambda: self._link.redis.exists(keys[1])))
                if data is None:
                    raise ProcessNotFound(f"no process {process_id!r}")
                process = self._link.decode_record(Process, data, process_id)
                if process.holder == holder:  # the previous call succeeded, but its answer was lost
                    return process
                pending = claim_queued(process, leased, holder)
                digest = sha1(data, usedforsecurity=False).hexdigest()
                values = (encode(pending), digest, writer, lease_ms, holder)
                if await self._link.run(scripts.CLAIM, keys, *values) == b"OK":
                    return pending

        return await self._link.ask(try_claim)

    async def save_process(self, process: Process) -> None:
        keys = self._process_keys(process.process_id)
        answer = await self._link.run(scripts.SAVE, keys, process.holder, encode(process), _ended_flag(process))
        _raise_unless_held(process, answer)
        if answer == b"ENDED":
            raise Conflict(f"process {process.process_id!r} has ended already and cannot become {process.status}")

    async def renew_lease(self, process: Process, lease_s: float) -> None:
        lease_ms, keys = milliseconds("lease_s", lease_s), self._process_keys(process.process_id)
        _raise_unless_held(process, await self._link.run(scripts.RENEW, keys, process.holder, lease_ms))

    async def process(self, process_id: str) -> Process:
        (process,) = await self._link.ask(lambda: self._read_processes([process_id]))
        if process is None:
            raise ProcessNotFound(f"no process {process_id!r}")
        return process

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        newest, of_model = self._process_indexes(model_id or "")
        index, last = newest if model_id is None else of_model, checked_limit(limit) - 1

        async def read_newest() -> list[Process | None]:
            ids: list[Any] = await self._link.redis.zrevrange(index, 0, last)
            return await self._read_processes([item.decode() for item in ids])

        return [process for process in await self._link.ask(read_newest) if process is not None]

    async def request_cancel(self, process_id: str) -> None:
        _raise_if_missing(process_id, await self._link.run(scripts.CANCEL, self._process_keys(process_id)))

    async def cancel_requested(self, process_id: str) -> bool:
        record, _ = self._process_keys(process_id)
        return bool(await self._link.ask(lambda: self._link.redis.hexists(record, "cancel")))

    async def _create(self, process: Process, lease_ms: int) -> None:
        keys = (*self._process_keys(process.process_id), *self._process_indexes(process.model_id))
        values = (encode(process), _ended_flag(process), secrets.token_hex(8), lease_ms, repr(process.created_at))
        if await self._link.run(scripts.CREATE, keys, *values, process.process_id) == b"TAKEN":
            raise Conflict(f"process {process.process_id!r} exists already")

    async def _read_processes(self, ids: list[str]) -> list[Process | None]:
        """In one transaction: a process that ends in between must not look as if only its lease were gone."""
        async with self._link.redis.pipeline(transaction=True) as pipe:
            for process_id in ids:
                record, lease = self._process_keys(process_id)
                pipe.hget(record, "data")
                pipe.exists(lease)
            answers = await pipe.execute()
        return [
            None
            if data is None
            else apply_lease(self._link.decode_record(Process, data, process_id), leased=bool(leased))
            for process_id, data, leased in zip(ids, answers[::2], answers[1::2], strict=True)
        ]

    def _process_keys(self, process_id: str) -> tuple[str, str]:
        return self._link.key("process", process_id), self._link.key("lease", process_id)

    def _process_indexes(self, model_id: str) -> tuple[str, str]:
        return self._link.key("processes"), self._link.key("processes", model_id)


def _raise_if_missing(process_id: str, answer: bytes) -> None:
    if answer == b"MISSING":
        raise ProcessNotFound(f"no process {process_id!r}")


def _raise_unless_held(process: Process, answer: bytes) -> None:
    _raise_if_missing(process.process_id, answer)
    if answer == b"LOST":
        raise LeaseLost(lease_lost_message(process))


def _ended_flag(process: Process) -> int:
    return int(process.status.has_ended)
