"""Observation stream: recorded calls that wait for the archive, one Redis stream for each model, one entry a call.

Keys, below a prefix: `observations:MODEL` (the stream), `observations:MODEL:waiting` (hash: `rows` and `bytes` that
wait, and `epoch`, drawn when the stream is made: an entry id is unique within an epoch), `observations:MODEL:call:ID`
(a call that was recorded; expires).
"""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.exceptions import AuthenticationError, AuthorizationError, OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from optagent.adapters.state.redis import stream_scripts
from optagent.adapters.state.redis.address import LOOK_FOR_AOF, address_of, client_at
from optagent.adapters.state.redis.memory import memory_error
from optagent.errors import Busy, Unavailable
from optagent.ports import RecordKind
from optagent.retry import GrowingPauses

Answer = TypeVar("Answer")

_GROUP = "archive"
_RETRY_S = 3.0  # no new attempt after this: with one attempt under way, callers are answered within 5 s
_SOCKET_TIMEOUT_S = 1.9
_CONNECT_TIMEOUT_S = 1.0
_DISK_WAIT_S = 4.0
_DISK_STEP_MS = 1000  # below the socket timeout, or waiting for the disk would look like a dead server
_SLOWEST_BYTES_A_S = 25e6  # a call of many MB may take that much longer
_CALL_MS = 30_000  # no call is repeated for as long as this
_FORGOTTEN_MS = 3_600_000
_ENTRY_BYTES = 2_000_000
_BATCH_BYTES = 32_000_000
_COMPRESS_BYTES = 65_536  # measured: below, compressing takes ten times as long as sending


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """A recorded call, or a part of one, in the queue. `data` is an Arrow IPC stream."""

    epoch: str
    entry_id: str
    kind: str
    rows: int
    data: bytes

    def table(self) -> pa.Table:
        """Raises pyarrow.ArrowException for bytes that are no table."""
        return pa.ipc.open_stream(self.data).read_all()


@dataclass(frozen=True, slots=True)
class StreamBatch:
    """Entries to archive; every earlier entry of the stream before `oldest` has been archived and deleted."""

    oldest: str
    entries: tuple[StreamEntry, ...]


class ObservationStream:
    """The queues of all models on the server behind a `redis://`, `rediss://` or `unix://` URL.

    Safe to use from several threads. A call is recorded when the server's append-only file has it, if the server has
    such a file (`WAITAOF`). Reconnects by itself; raises Unavailable, naming the address, within 5 s (and 1 s more for
    each 25 MB of a call).
    """

    def __init__(
        self, url: str, prefix: str = "optagent", most_rows: int = 1_000_000, most_bytes: int = 500_000_000,
        claim_after_s: float = 5.0,
    ) -> None:  # fmt: skip
        self._redis = client_at(
            Redis.from_url,
            url,
            retry=Retry(NoBackoff(), 0),  # `_ask` repeats whole steps instead of single commands
            socket_timeout=_SOCKET_TIMEOUT_S,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
        )
        self._address = address_of(self._redis)
        self._prefix, self._most = f"{prefix}:observations", (most_rows, most_bytes)
        self._claim_after_ms = max(1, round(claim_after_s * 1000))
        self._consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._drained_models: set[str] = set()
        self._has_append_only_file: bool | None = None

    def check(self) -> None:
        self._ask(self._redis.ping)

    def record(self, model_id: str, kind: RecordKind, rows: pa.Table) -> None:
        """Queues all rows or none; raises Busy where too many wait. An empty queue accepts a call of any size."""
        values: list[Any] = [secrets.token_hex(8), *self._most, _CALL_MS]
        for part in _split_rows(rows):
            values += [str(kind), part.num_rows, _to_ipc(part)]
        stream, waiting = self._keys(model_id)
        keys = (stream, waiting, f"{stream}:call:{secrets.token_hex(8)}")
        if backlog := self._ask(lambda: self._write_once("EVAL", stream_scripts.RECORD, len(keys), *keys, *values)):
            raise Busy(
                f"{model_id}: {backlog[0]:,} rows ({backlog[1] / 1e6:,.0f} MB) wait to be archived, with "
                f"{rows.num_rows:,} more it would be above {self._most[0]:,} rows or {self._most[1] / 1e6:,.0f} MB; "
                "try again later"
            )

    def backlog(self, model_id: str) -> int:
        """The number of rows that wait, including those on their way into the archive."""
        return int(self._ask(lambda: self._redis.hget(self._keys(model_id)[1], "rows")) or 0)

    def take(self, model_id: str, most: int) -> StreamBatch:
        """Entries with `most` rows in all, or all that wait; they stay in the queue, as ours, until `acknowledge`."""
        if model_id not in self._drained_models:
            self._drained_models.add(model_id)
            self._leave_group(model_id)
        values = (_GROUP, self._consumer, self._claim_after_ms, most, _BATCH_BYTES)
        oldest, entries = self._ask(lambda: self._redis.eval(stream_scripts.TAKE, 1, self._keys(model_id)[0], *values))
        return StreamBatch(
            oldest.decode(), tuple(_parse_entry(entry_id.decode(), fields) for entry_id, fields in entries)
        )

    def acknowledge(self, model_id: str, entries: Sequence[StreamEntry]) -> None:
        """Removes entries from the queue; it does no harm to repeat it."""
        values = [value for entry in entries for value in (entry.entry_id, entry.rows, len(entry.data))]
        keys = self._keys(model_id)
        self._ask(lambda: self._redis.eval(stream_scripts.DONE, len(keys), *keys, _GROUP, *values))

    def newest_entry(self, model_id: str) -> str | None:
        """The id of the entry that was recorded last among those that wait; None without any."""
        stream = self._keys(model_id)[0]
        entries: Any = self._ask(lambda: self._redis.xrevrange(stream, count=1))
        return entries[0][0].decode() if entries else None

    def has_entries_until(self, model_id: str, last: str) -> bool:
        """True while an entry up to that id waits, taken or not."""
        stream = self._keys(model_id)[0]
        return bool(self._ask(lambda: self._redis.xrange(stream, max=last, count=1)))

    def rewrite_history(self) -> None:
        """Has the server write its append-only file anew, without what was removed; it may refuse."""
        with contextlib.suppress(RedisError, OSError):
            self._redis.bgrewriteaof()

    def close(self) -> None:
        with contextlib.suppress(Unavailable):
            for model_id in self._drained_models:
                self._leave_group(model_id)
        with contextlib.suppress(RedisError, OSError):
            self._redis.close()

    def _leave_group(self, model_id: str) -> None:
        values = (_GROUP, self._consumer, _FORGOTTEN_MS)
        self._ask(lambda: self._redis.eval(stream_scripts.LEAVE, 1, self._keys(model_id)[0], *values))

    def _write_once(self, *command: Any) -> Any:
        """The command's answer, once the append-only file has it; both on one connection, as in RedisConnection.

        It takes a connection from the pool, since making a client takes a quarter of the time of a small call.
        """
        longer_s = sum(len(part) for part in command if isinstance(part, bytes)) / _SLOWEST_BYTES_A_S
        pool = self._redis.connection_pool
        connection = pool.get_connection()
        try:
            if self._has_append_only_file is None:
                self._has_append_only_file = _has_append_only_file(connection)
            connection.update_current_socket_timeout(_SOCKET_TIMEOUT_S + longer_s)
            answer = _execute(connection, *command)
            if self._has_append_only_file:
                self._wait_for_disk(connection, time.monotonic() + _DISK_WAIT_S + longer_s)
            connection.update_current_socket_timeout(_SOCKET_TIMEOUT_S)
            return answer
        except BaseException:
            connection.disconnect()  # type: ignore[no-untyped-call]
            raise
        finally:
            pool.release(connection)

    def _wait_for_disk(self, connection: AbstractConnection, give_up: float) -> None:
        while _execute(connection, "WAITAOF", 1, 0, _DISK_STEP_MS)[0] < 1:
            if time.monotonic() > give_up - _DISK_STEP_MS / 1000:
                raise Unavailable(f"Redis at {self._address} did not get a write to disk within {_DISK_WAIT_S:g} s")

    def _ask(self, step: Callable[[], Answer]) -> Answer:
        """Takes a step, again and again while the connection fails; no step does harm if it is taken twice."""
        started, pauses = time.monotonic(), GrowingPauses(0.02, 0.5)
        while True:
            pause_s = next(pauses)
            try:
                return step()
            except (AuthenticationError, AuthorizationError) as error:
                raise Unavailable(f"Redis at {self._address} refuses: {error}") from None
            except (RedisConnectionError, RedisTimeoutError, OSError) as error:
                if time.monotonic() + pause_s - started > _RETRY_S:
                    waited = time.monotonic() - started
                    message = f"Redis at {self._address} does not answer (waited {waited:.1f} s): {error}"
                    raise Unavailable(message) from None
            except OutOfMemoryError:
                raise memory_error(self._address, self._read_memory()) from None
            except RedisError as error:
                raise Unavailable(f"Redis at {self._address} refuses: {error}") from None
            time.sleep(pause_s)

    def _read_memory(self) -> dict[str, Any]:
        with contextlib.suppress(RedisError, OSError):
            return dict(self._redis.info("memory"))
        return {}

    def _keys(self, model_id: str) -> tuple[str, str]:
        return f"{self._prefix}:{model_id}", f"{self._prefix}:{model_id}:waiting"


def _parse_entry(entry_id: str, fields: Sequence[bytes]) -> StreamEntry:
    """The entry, also for fields that another program put into the stream: kind and rows are then unknown."""
    by_name = dict(zip(fields[::2], fields[1::2], strict=True))
    rows = by_name.get(b"rows", b"")
    return StreamEntry(
        epoch=by_name.get(b"epoch", b"").decode("ascii", "replace"),
        entry_id=entry_id,
        kind=by_name.get(b"kind", b"").decode("ascii", "replace"),
        rows=int(rows) if rows.isdigit() else 0,
        data=by_name.get(b"data", b""),
    )


def _split_rows(rows: pa.Table) -> list[pa.Table]:
    """Slices of about 2 MB each."""
    most = max(1, _ENTRY_BYTES * rows.num_rows // max(1, rows.nbytes))
    return [rows.slice(start, most) for start in range(0, rows.num_rows, most)]


def _to_ipc(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4" if rows.nbytes >= _COMPRESS_BYTES else None)
    with pa.ipc.new_stream(sink, rows.schema, options=options) as writer:
        writer.write_table(rows.combine_chunks())
    return bytes(sink.getvalue())


def _has_append_only_file(connection: AbstractConnection) -> bool:
    try:
        _execute(connection, *LOOK_FOR_AOF)
    except ResponseError:
        return False
    return True


def _execute(connection: AbstractConnection, *command: Any) -> Any:
    connection.send_command(*command)  # type: ignore[no-untyped-call]
    return connection.read_response()
