"""Redis queue: the processes that have not ended, read from indexes of their own, and the counts of a model's runs.

Keys, below a prefix: those of `redis/processes.py`, and `process_index` (the version of the indexes, once they hold
every process that an older version had stored).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from optagent.adapters.state.process_lease import checked_limit
from optagent.adapters.state.redis import process_scripts as scripts
from optagent.adapters.state.redis.processes import RedisProcesses, StoredProcess
from optagent.domain.process import Process, ProcessSummary, Status
from optagent.domain.queue_order import QueueHead, turn_of

_INDEX_VERSION = b"1"
_PAGE = 100  # records that are read at a time: each may hold a result of tens of kilobytes
_LATELY = 1000  # newest processes that are looked at for those of an older program that runs beside this one


class RedisQueue(RedisProcesses):
    """The part of a Store that knows which processes have not ended."""

    _is_indexed = False

    async def enqueue_process(self, process: Process, max_queued: int | None = None) -> None:
        await self._adopt_older()  # those that wait already count
        await super().enqueue_process(process, max_queued)

    async def processes_of_kind(self, model_id: str, kind: str, limit: int = 100) -> list[Process]:
        await self._adopt_older()
        return await self._read_newest_processes(self._link.key("processes", model_id, kind), limit)

    async def process_summaries(self, model_id: str, kind: str, since: float) -> list[ProcessSummary]:
        await self._adopt_older()
        index = self._link.key("processes", model_id, kind)

        async def read_index() -> list[tuple[bytes, float]]:
            newest: Any = await self._link.redis.zrevrange(index, 0, 0, withscores=True)
            recent: Any = await self._link.redis.zrevrangebyscore(index, "+inf", repr(since), withscores=True)
            return recent or newest

        times = {item.decode(): at for item, at in await self._link.ask(read_index)}
        summaries = await self._link.ask(lambda: self._read_summaries(times))
        return [summaries[process_id] for process_id in times if process_id in summaries]

    async def latest_ends(self, limit: int = 100) -> list[Process]:
        await self._adopt_older()
        await self._read_held()  # those that have lost their runner for good have ended
        processes = await self._read_newest_processes(self._link.key("ended"), limit)
        return [process for process in processes if process.status.has_ended]

    async def unended_processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        await self._adopt_older()
        index = self._link.key("unended") if model_id is None else self._link.key("unended", model_id)
        processes: list[Process] = []
        start, limit = 0, checked_limit(limit)
        while len(processes) < limit:
            ids = await self._read_ids(index, start, start + min(limit, _PAGE) - 1, newest_first=True)
            if not ids:
                break
            stored, retired_count = await self._read_unended(ids, index)
            processes += [item.process for item in stored]
            start += len(ids) - retired_count
        return processes[:limit]

    async def queue_head(self, limit: int) -> QueueHead:
        await self._adopt_older()
        checked_limit(limit)
        held_ids, stopping_ids, waiting_ids = await self._link.ask(lambda: self._read_head(limit))
        held = [item for ids in _pages(held_ids) for item in (await self._read_unended(ids))[0]]
        stopping = [item for ids in _pages(stopping_ids) for item in (await self._read_unended(ids))[0]]
        waiting = await self._read_waiting(waiting_ids, limit)
        stored = {item.process.process_id: item for item in (*held, *stopping, *waiting)}.values()
        queued = [item for item in stored if item.process.status is Status.QUEUED]
        return QueueHead(
            tuple(item.process for item in stored if item.process.status is not Status.QUEUED),
            tuple(item.process for item in sorted(queued, key=_order) if not item.stopping),
            tuple(item.process for item in sorted(queued, key=_order) if item.stopping),
        )

    async def queue_places(self, process_ids: Sequence[str]) -> dict[str, int]:
        await self._adopt_older()
        held = await self._read_held()
        again = {item.process.process_id: turn_of(item.process) for item in held if _is_queued(item)}
        places = {}
        for process_id in process_ids:
            before = await self._link.ask(partial(self._count_before, process_id, again.get(process_id)))
            if before is not None:
                count, turn = before
                places[process_id] = 1 + count + sum((own, name) < (turn, process_id) for name, own in again.items())
        return places

    async def _count_before(self, process_id: str, turn: float | None) -> tuple[int, float] | None:
        """The number of those without a runner yet that start before a process, and its turn; None where it does not
        wait. A `turn` is that of one that lost its runner."""
        redis, waiting = self._link.redis, self._link.key("waiting")
        if turn is not None:
            return int(await redis.zcount(waiting, "-inf", f"({turn!r}")), turn
        rank: Any = await redis.zrank(waiting, process_id)
        score = await redis.zscore(waiting, process_id)
        return None if rank is None or score is None else (int(rank), float(score))

    async def _read_held(self) -> list[StoredProcess]:
        ids = await self._read_ids(self._link.key("held"), 0, -1)
        return [item for page in _pages(ids) for item in (await self._read_unended(page))[0]]

    async def _read_ids(self, index: str, start: int, end: int, newest_first: bool = False) -> list[str]:
        read = self._link.redis.zrevrange if newest_first else self._link.redis.zrange
        ids: list[Any] = await self._link.ask(lambda: read(index, start, end))
        return [item.decode() for item in ids]

    async def _read_head(self, limit: int) -> list[list[str]]:
        """In one transaction: a process that is taken in between must be in one of the lists."""
        async with self._link.redis.pipeline(transaction=True) as pipe:
            pipe.zrange(self._link.key("held"), 0, -1)
            pipe.zrange(self._link.key("stopping"), 0, limit - 1)
            pipe.zrange(self._link.key("waiting"), 0, limit - 1)
            return [[item.decode() for item in ids] for ids in await pipe.execute()]

    async def _read_waiting(self, ids: Sequence[str], limit: int) -> list[StoredProcess]:
        """The first `limit` that wait, from the first `ids` on: records that cannot be read do not block the queue."""
        stored: list[StoredProcess] = []
        start = 0
        while ids:
            readable, retired_count = await self._read_unended(ids)
            stored += readable
            start += len(ids) - retired_count
            if len(stored) >= limit:
                break
            ids = await self._read_ids(self._link.key("waiting"), start, start + _PAGE - 1)
        return stored[:limit]

    async def _read_unended(self, ids: Sequence[str], *indexes: str) -> tuple[list[StoredProcess], int]:
        """Those that have not ended, and the number of those that were taken out of the indexes.

        These have lost their runner for good, or their record is gone.
        """
        records = dict(zip(ids, await self._link.ask(lambda: self._read_processes(ids)), strict=True))
        stored = [item for item in records.values() if item is not None]
        ended_at = {
            item.process.process_id: repr(item.process.updated_at) for item in stored if item.process.status.has_ended
        }
        for process_id in await self._link.ask(lambda: self._without_record(records)):
            ended_at[process_id] = ""
        retired = [await self._retire(process_id, at, *indexes) for process_id, at in ended_at.items()]
        return [item for item in stored if not item.process.status.has_ended], sum(retired)

    async def _without_record(self, records: Mapping[str, StoredProcess | None]) -> list[str]:
        missing = [process_id for process_id, stored in records.items() if stored is None]
        return [name for name in missing if not await self._link.redis.exists(self._record_keys(name)[0])]

    async def _retire(self, process_id: str, ended_at: str, *indexes: str) -> bool:
        sets = [self._link.key(name) for name in ("ended", "unended", "waiting", "held", "stopping")]
        keys = (*self._record_keys(process_id), *sets, *indexes)
        return bool(await self._link.run_at_once(scripts.RETIRE, keys, process_id, ended_at) == b"OK")

    async def _read_summaries(self, times: dict[str, float]) -> dict[str, ProcessSummary]:
        ids = list(times)
        async with self._link.redis.pipeline(transaction=False) as pipe:
            for process_id in ids:
                pipe.hmget(self._record_keys(process_id)[0], ["ended", "outcome"])
            fields = dict(zip(ids, await pipe.execute(), strict=True))
        summaries = {
            process_id: ProcessSummary(process_id, times[process_id], True, outcome.decode())
            for process_id, (ended, outcome) in fields.items()
            if ended == b"1" and outcome is not None
        }
        others = [name for name, (ended, _) in fields.items() if ended is not None and name not in summaries]
        for process_id, stored in zip(others, await self._read_processes(others), strict=True):
            if stored is not None:
                process = stored.process
                summaries[process_id] = ProcessSummary(
                    process_id, times[process_id], process.status.has_ended, process.outcome
                )
        return summaries

    async def _adopt_older(self) -> None:
        """Indexes the processes of an older version, before the indexes are read through this store for the first time.

        Several programs may do so at once, and one that is ended in between leaves the rest to the next. Where all were
        adopted once, only the newest processes are looked at: an older program may have run beside this version.
        """
        if self._is_indexed:
            return
        marker = self._link.key("process_index")
        is_complete = await self._link.ask(lambda: self._link.redis.get(marker)) == _INDEX_VERSION
        start = -_LATELY if is_complete else 0
        for ids in _pages(await self._read_ids(self._link.key("processes"), start, -1)):
            await self._link.ask(partial(self._adopt, ids))
        if not is_complete:
            await self._link.write("SET", marker, _INDEX_VERSION)
        self._is_indexed = True

    async def _adopt(self, ids: Sequence[str]) -> None:
        while ids:  # those that ended since their data was read are read once more
            async with self._link.redis.pipeline(transaction=False) as pipe:
                for process_id in ids:
                    pipe.hexists(self._record_keys(process_id)[0], "outcome")
                older = [name for name, done in zip(ids, await pipe.execute(), strict=True) if not done]
                for process_id in older:
                    pipe.hget(self._record_keys(process_id)[0], "data")
                records = {name: data for name, data in zip(older, await pipe.execute(), strict=True) if data}
                processes = self._link.decode_all(Process, records)
                for process in processes:
                    keys = self._process_keys(process)
                    values = ("", "", "", *self._index_values(process), process.outcome)
                    pipe.eval(scripts.ADOPT, len(keys), *keys, *values)
                answers = await pipe.execute()
            ids = [item.process_id for item, answer in zip(processes, answers, strict=True) if answer == b"CHANGED"]


def _pages(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE)]


def _order(stored: StoredProcess) -> tuple[float, str]:
    return turn_of(stored.process), stored.process.process_id


def _is_queued(stored: StoredProcess) -> bool:
    return stored.process.status is Status.QUEUED
