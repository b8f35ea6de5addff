"""Supervisor of the embedded Redis: a small process that keeps the server of one folder up while the folder has users.

Run as `python embedded_redis_supervisor.py FOLDER BINARY MAX_MEMORY`, by path and in isolation, so only the standard
library is imported. File locks stand for everything that must not outlive a process, since the kernel releases them
however the process dies:

- `users.lock`: shared, one by each user process. The supervisor waits to have it alone: then there are no users left.
- `supervisor.lock`: the supervisor, so there is one.
- `server.lock`: inherited by the server, so no two of them ever write to one append-only file.
"""

import contextlib
import ctypes
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

if sys.platform != "win32":
    import fcntl

HOST = "127.0.0.1"
USERS, SUPERVISOR, SERVER, LOG = "users.lock", "supervisor.lock", "server.lock", "server.log"

_POLL_S = 0.1
_STARTING_POLL_S = 0.01
_STOP_S = 1.5
_EVICT_S = 2.0
LOG_LIMIT = 1_000_000
_TRIES = 5
_PORTS = range(20_000, 32_768)  # below the ports that Linux and macOS give to outgoing connections


@dataclass(frozen=True)
class RedisEndpoint:
    """The address of a server; `pid` is the server's process, `machine` the host that runs it."""

    host: str
    port: int
    password: str = field(repr=False)
    pid: int
    machine: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{self.host}:{self.port}/0"

    def answers(self) -> bool:
        """True where a server listens there that accepts this password and has loaded its data."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as replies:
                    return replies.readline() == b"+OK\r\n" and replies.readline() == b"+PONG\r\n"
        except OSError:
            return False

    def write(self, folder: Path) -> None:
        """Replaces the endpoint file of `folder` in one step, readable by its owner only."""
        new = folder / f"endpoint.{os.getpid()}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            json.dump(asdict(self), file)
        new.replace(_endpoint_file(folder))


def read_endpoint(folder: Path) -> RedisEndpoint | None:
    """The endpoint in the file of `folder`, None without a sound one; it is valid only while a supervisor runs."""
    try:
        endpoint = RedisEndpoint(**json.loads(_endpoint_file(folder).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    is_sound = isinstance(endpoint.port, int) and isinstance(endpoint.pid, int) and isinstance(endpoint.password, str)
    return endpoint if is_sound and endpoint.host == HOST else None


def try_lock(path: Path, exclusive: bool) -> int | None:
    """A descriptor that holds the lock on `path`, None where others hold it; the lock ends with the descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def unlock(descriptor: int) -> None:
    """Releases a lock, even if a forked child still has a copy of the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


class RedisSupervisor:
    """Keeps one server running until the folder has no users; each step compares the state with what it should be."""

    def __init__(self, folder: Path, binary: Path, max_memory: int) -> None:
        previous = read_endpoint(folder)
        self._folder, self._binary, self._max_memory = folder, binary, max_memory
        # Users of a supervisor that was killed know the old address: take it again where it is still to be had.
        self._port = previous.port if previous and previous.port in _PORTS and _is_free(previous.port) else _free_port()
        self._password = previous.password if previous else secrets.token_urlsafe(32)
        self._server: subprocess.Popen[bytes] | None = None
        self._announced: RedisEndpoint | None = None
        self._ever_answered = False
        self._failures = 0
        self._next_start = 0.0
        _endpoint_file(folder).unlink(missing_ok=True)

    def run(self) -> None:
        """Returns when there are no users left; raises RuntimeError when the server never comes up."""
        try:
            while (users := try_lock(self._folder / USERS, exclusive=True)) is None:
                self._step()
                time.sleep(_POLL_S if self._announced else _STARTING_POLL_S)
        finally:
            self._stop()
        os.close(users)

    def _step(self) -> None:
        if self._server is not None and self._server.poll() is not None:
            self._handle_exit(self._server.returncode)
        if self._server is None:
            if time.monotonic() >= self._next_start:
                self._start()
            return
        current = RedisEndpoint(HOST, self._port, self._password, self._server.pid, socket.gethostname())
        if self._announced is None and current.answers():
            self._announced, self._ever_answered, self._failures = current, True, 0
        if self._announced is not None and read_endpoint(self._folder) != current:
            with contextlib.suppress(OSError):  # the folder was deleted, or its disk is full
                current.write(self._folder)

    def _handle_exit(self, code: int) -> None:
        _log(f"the server ended with code {code}")
        if self._announced is None:
            self._failures += 1
        if self._failures >= _TRIES and not self._ever_answered:
            raise RuntimeError(f"the server ended {self._failures} times before it answered")
        if self._failures and (self._failures % _TRIES == 0 or not self._ever_answered):
            self._port = _free_port()
        self._server = self._announced = None
        self._next_start = time.monotonic() + (min(2.0, 0.05 * 2**self._failures) if self._failures else 0.0)

    def _start(self) -> None:
        lock = self._server_lock()
        data = self._folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        parent = os.getpid()
        libc = ctypes.CDLL(None)
        self._server = subprocess.Popen(
            [self._binary, "-"],
            stdin=subprocess.PIPE,
            stdout=sys.stderr,
            stderr=sys.stderr,
            cwd=data,
            pass_fds=(lock,),
            preexec_fn=lambda: _die_with(parent, libc),  # safe: this process has one thread
        )
        os.write(lock, f"{self._server.pid}\n".encode())
        os.close(lock)
        assert self._server.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._server.stdin as config:
            config.write(
                _config(self._port, self._password, self._max_memory)
            )  # not as arguments: `ps` shows those to everyone

    def _server_lock(self) -> int:
        """The lock that keeps other servers from writing here; kills a server that survived its supervisor first."""
        path = self._folder / SERVER
        give_up = time.monotonic() + _EVICT_S
        while (lock := try_lock(path, exclusive=True)) is None:
            if time.monotonic() > give_up:
                with contextlib.suppress(ValueError, OSError):
                    os.kill(int(path.read_text()), signal.SIGKILL)
                give_up = time.monotonic() + _EVICT_S
            time.sleep(_STARTING_POLL_S)
        os.ftruncate(lock, 0)
        return lock

    def _stop(self) -> None:
        with contextlib.suppress(OSError):
            _endpoint_file(self._folder).unlink(missing_ok=True)
        if self._server is None:
            return
        self._server.terminate()
        try:
            self._server.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()


def main(folder: Path, binary: Path, max_memory: int) -> None:
    """Becomes the supervisor of `folder` in the background, unless it has one; returns in the caller's child only."""
    lock = try_lock(folder / SUPERVISOR, exclusive=True)
    give_up = time.monotonic() + 1
    while lock is None and time.monotonic() < give_up:  # another process may only be testing the lock
        time.sleep(_STARTING_POLL_S)
        lock = try_lock(folder / SUPERVISOR, exclusive=True)
    if lock is None:
        return
    try:
        supervisor = RedisSupervisor(folder, binary, max_memory)  # removes a stale endpoint before the caller looks
        if os.fork():  # an orphan: the process that started it neither reaps it nor takes it along
            os._exit(0)
        signal.signal(signal.SIGTERM, _exit_on_signal)
        signal.signal(signal.SIGINT, _exit_on_signal)
        supervisor.run()
    except (OSError, RuntimeError) as error:
        _log(str(error))
        sys.exit(1)


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _die_with(parent: int, libc: ctypes.CDLL) -> None:
    """Has the kernel kill this child when the supervisor dies (Linux; elsewhere `server.lock` shows the survivor)."""
    if sys.platform == "linux":
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def _config(port: int, password: str, max_memory: int) -> bytes:
    lines = {
        "bind": HOST,
        "port": port,
        "requirepass": password,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory": max_memory,
        "maxmemory-policy": "noeviction",  # writers get an error; nothing that was acknowledged disappears
        "daemonize": "no",
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items()).encode()


def _endpoint_file(folder: Path) -> Path:
    return folder / "endpoint.json"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    for _ in range(100):
        port = random.choice(_PORTS)
        if _is_free(port):
            return port
    raise RuntimeError(f"no free port on {HOST} between {_PORTS.start} and {_PORTS.stop}")


def _log(line: str) -> None:
    print(f"supervisor {os.getpid()}: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
