"""Models, processes, reports and alerts in Redis or Valkey.

Keys, below a prefix: `models` (hash, JSON by id), `process:ID` (hash: `data` JSON, `ended` 0 or 1, `creation`,
`cancel`), `lease:ID` (expires when the runner of the process stops renewing it), `processes` and `processes:MODEL`
(sorted sets of ids by creation time), `report:KEY` (hash: `digest`, `data` JSON; expires), `alerts` (set of models),
`alerts:MODEL` (hash, JSON by id), `alerts:MODEL:resolved` (sorted set of ids by time).
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError

from optagent.adapters.state import redis_scripts
from optagent.adapters.state.alerts import forgotten_before, in_order
from optagent.adapters.state.lease import as_seen, checked_lease, checked_limit
from optagent.adapters.state.redis_address import LOOK_FOR_AOF, address_of, client_at
from optagent.codec import decode, encode
from optagent.domain.alert import Alert
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.process import Process
from optagent.errors import Conflict, InvalidRequest, ModelNotFound, OptAgentError, ProcessNotFound, Unavailable

Answer = TypeVar("Answer")
Noun = TypeVar("Noun", ModelSpec, Process, ModelReport, Alert)

_DEADLINE_S = 4.0  # of every verb, retries included: callers are promised an answer within 5 s
_CHECK_S = 2.5  # of the first look at a server, by a program that has to start as well
_DISK_WAIT_MS = 3000  # a server postpones its append-only file by up to 2 s while a slow disk syncs
_SOCKET_TIMEOUT_S = 3.5  # above the wait for the disk, or waiting would look like a dead server
_CONNECT_TIMEOUT_S = 1.5
_REPORT_KEPT_MS = 30 * 86_400_000


class RedisStore:
    """A Store on the server behind a `redis://`, `rediss://` or `unix://` URL.

    An asyncio client belongs to the event loop that first used it: use a store, and close it, from one loop only.
    A write is acknowledged when the server's append-only file has it, where the server has one (`WAITAOF`); whether it
    has is asked once. Reconnects by itself; raises Unavailable, naming the address, after 4 s without success.
    """

    def __init__(self, url: str, prefix: str = "optagent") -> None:
        self._redis = client_at(
            Redis.from_url,
            url,
            retry=Retry(NoBackoff(), 0),  # `_ask` repeats whole steps instead of single commands
            socket_timeout=_SOCKET_TIMEOUT_S,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
        )
        self._address = address_of(self._redis)
        self._prefix = prefix
        self._has_append_only_file: bool | None = None

    async def check(self) -> None:
        await self._ask(self._redis.ping, _CHECK_S)

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def save_model(self, spec: ModelSpec) -> None:
        await self._write("HSET", self._key("models"), spec.model_id, encode(spec))

    async def model(self, model_id: str) -> ModelSpec:
        data = await self._ask(lambda: self._redis.hget(self._key("models"), model_id))
        if data is None:
            raise ModelNotFound(f"no model {model_id!r}")
        return self._decoded(ModelSpec, data, model_id)

    async def models(self) -> list[ModelSpec]:
        kept: dict[Any, Any] = await self._ask(lambda: self._redis.hgetall(self._key("models")))
        return [self._decoded(ModelSpec, data, name.decode()) for name, data in sorted(kept.items())]

    async def create_process(self, process: Process, lease_s: float) -> None:
        keys = (*self._process_keys(process.process_id), *self._index_keys(process.model_id))
        creation = secrets.token_hex(8)
        values = (encode(process), _ended(process), creation, _ms(lease_s), repr(process.created_at))
        if await self._run(redis_scripts.CREATE, keys, *values, process.process_id) == b"TAKEN":
            raise Conflict(f"process {process.process_id!r} exists already")

    async def save_process(self, process: Process) -> None:
        keys = self._process_keys(process.process_id)
        answer = await self._run(redis_scripts.SAVE, keys, encode(process), _ended(process))
        self._known(process.process_id, answer)
        if answer == b"ENDED":
            raise Conflict(f"process {process.process_id!r} has ended already and cannot become {process.status}")

    async def renew_lease(self, process_id: str, lease_s: float) -> None:
        answer = await self._run(redis_scripts.RENEW, self._process_keys(process_id), _ms(lease_s))
        self._known(process_id, answer)

    async def process(self, process_id: str) -> Process:
        (found,) = await self._seen([process_id])
        if found is None:
            raise ProcessNotFound(f"no process {process_id!r}")
        return found

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        newest, of_model = self._index_keys(model_id or "")
        index, last = newest if model_id is None else of_model, checked_limit(limit) - 1
        ids: list[Any] = await self._ask(lambda: self._redis.zrevrange(index, 0, last))
        return [process for process in await self._seen([item.decode() for item in ids]) if process is not None]

    async def request_cancel(self, process_id: str) -> None:
        self._known(process_id, await self._run(redis_scripts.CANCEL, self._process_keys(process_id)))

    async def cancel_requested(self, process_id: str) -> bool:
        kept, _ = self._process_keys(process_id)
        return bool(await self._ask(lambda: self._redis.hexists(kept, "cancel")))

    async def save_report(self, key: str, digest: str, report: ModelReport) -> None:
        await self._run(redis_scripts.SAVE_REPORT, (self._key("report", key),), digest, encode(report), _REPORT_KEPT_MS)

    async def report(self, key: str, digest: str) -> ModelReport | None:
        of, data = await self._ask(lambda: self._redis.hmget(self._key("report", key), ["digest", "data"]))
        return self._decoded(ModelReport, data, key) if data is not None and of == digest.encode() else None

    async def save_alerts(self, alerts: Sequence[Alert]) -> None:
        of_model = attrgetter("model_id")
        for model_id, group in groupby(sorted(alerts, key=of_model), key=of_model):
            saved = list(group)
            values = [
                value
                for alert in saved
                for value in (alert.alert_id, encode(alert), "" if alert.is_open else repr(alert.resolved_at))
            ]
            keys = (self._key("alerts"), self._key("alerts", model_id), self._key("alerts", model_id, "resolved"))
            await self._run(redis_scripts.SAVE_ALERTS, keys, model_id, repr(forgotten_before(saved)), *values)

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        kept = await self._ask(lambda: self._kept_alerts(model_id))
        return in_order((self._decoded(Alert, data, name.decode()) for name, data in kept.items()), limit)

    async def _kept_alerts(self, model_id: str | None) -> dict[Any, Any]:
        models = [model_id or ""]
        if model_id is None:
            known: set[Any] = await self._redis.smembers(self._key("alerts"))
            models = [name.decode() for name in known]
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in models:
                pipe.hgetall(self._key("alerts", name))
            return {name: data for kept in await pipe.execute() for name, data in kept.items()}

    async def _seen(self, ids: list[str]) -> list[Process | None]:
        if not ids:
            return []
        answers = await self._ask(lambda: self._data_and_leases(ids))
        return [
            None if data is None else as_seen(self._decoded(Process, data, process_id), leased=bool(leased))
            for process_id, data, leased in zip(ids, answers[::2], answers[1::2], strict=True)
        ]

    async def _data_and_leases(self, ids: list[str]) -> list[Any]:
        """In one transaction: a process that ends in between must not look as if only its lease were gone."""
        async with self._redis.pipeline(transaction=True) as pipe:
            for process_id in ids:
                kept, lease = self._process_keys(process_id)
                pipe.hget(kept, "data")
                pipe.exists(lease)
            return await pipe.execute()

    async def _run(self, script: str, keys: tuple[str, ...], *values: Any) -> Any:
        return await self._write("EVAL", script, len(keys), *keys, *values)

    async def _write(self, *command: Any) -> Any:
        return await self._ask(lambda: self._write_once(*command))

    async def _write_once(self, *command: Any) -> Any:
        """The command's answer, once the append-only file has it.

        Both on one connection, since WAITAOF speaks of the writes of its own, and one after the other: sent together,
        Valkey blocks the client until its next 100 ms tick (measured: 100 to 200 ms against 0.5 ms).
        """
        async with self._redis.client() as connection:
            if self._has_append_only_file is None:
                self._has_append_only_file = await _has_append_only_file(connection)
            answer = await connection.execute_command(*command)  # type: ignore[no-untyped-call]
            if self._has_append_only_file and (await connection.waitaof(1, 0, _DISK_WAIT_MS))[0] < 1:
                raise Unavailable(f"Redis at {self._address} did not get a write to disk within {_DISK_WAIT_MS} ms")
            return answer

    async def _ask(self, step: Callable[[], Awaitable[Answer]], limit_s: float = _DEADLINE_S) -> Answer:
        """Takes a step, again and again while the connection fails; every step may be taken twice without harm."""
        last: list[Exception] = []

        async def failed(error: Exception) -> None:
            last[:] = [error]

        try:
            async with asyncio.timeout(limit_s):
                return await Retry(ExponentialBackoff(cap=0.5, base=0.02), -1).call_with_retry(step, failed, _mendable)
        except TimeoutError:
            why = f": {last[0]}" if last else ""
            raise Unavailable(f"Redis at {self._address} does not answer (waited {limit_s:g} s){why}") from None
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis at {self._address} refuses: {error}") from None

    def _decoded(self, kind: type[Noun], data: bytes | str, name: str) -> Noun:
        try:
            return decode(kind, data)
        except InvalidRequest as error:
            raise OptAgentError(
                f"{kind.__name__} {name!r} in Redis at {self._address} cannot be read, "
                f"was it written by another version of optagent? {error}"
            ) from None

    def _known(self, process_id: str, answer: bytes) -> None:
        if answer == b"MISSING":
            raise ProcessNotFound(f"no process {process_id!r}")

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    def _process_keys(self, process_id: str) -> tuple[str, str]:
        return self._key("process", process_id), self._key("lease", process_id)

    def _index_keys(self, model_id: str) -> tuple[str, str]:
        return self._key("processes"), self._key("processes", model_id)


async def _has_append_only_file(connection: Redis) -> bool:
    try:
        await connection.execute_command(*LOOK_FOR_AOF)  # type: ignore[no-untyped-call]
    except ResponseError:
        return False
    return True


def _mendable(error: Exception) -> bool:
    """Whether trying again may help; a refused password stays refused."""
    return not isinstance(error, AuthenticationError | AuthorizationError)


def _ended(process: Process) -> int:
    return int(process.status.ended)


def _ms(lease_s: float) -> int:
    return max(1, round(checked_lease(lease_s) * 1000))
