"""Ray head: starts and stops a head of our own on this machine, which outlives the program that started it."""

import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from optagent.adapters.cluster.free_ports import free_port
from optagent.adapters.cluster.serve_environment import HEAD, serve_on_this_machine
from optagent.errors import Unavailable

_log = logging.getLogger("optagent.cluster")
_ATTEMPTS = 3
_START_S = 90.0
_STOP_S = 30.0
_POLL_S = 0.1
_SAME_S = 5.0  # the start time of a process changes when the clock is set
_STARTED_MESSAGE = "Ray runtime started"


@dataclass(frozen=True, slots=True)
class Head:
    """A head that was started: its process, the cluster's address, the dashboard's URL, a folder for its sockets."""

    pid: int
    started_at: float
    address: str
    dashboard: str
    scratch: str

    def process(self) -> psutil.Process | None:
        """The head's process; None where it has ended, even if another process has its number by now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started_at) < _SAME_S and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


class RayHead:
    """The head whose state and log are in `folder`, one at most. Blocks; for one program at a time."""

    def __init__(self, folder: Path, num_cpus: int | None = None) -> None:
        self._folder = folder
        self._num_cpus = num_cpus
        self._state = folder / "head.json"
        self.log = folder / "head.log"

    def running(self) -> Head | None:
        head = self._read()
        return head if head is not None and head.process() is not None else None

    def start(self) -> Head:
        """The running head, or a new one once it takes work; raises Unavailable with Ray's reason."""
        running = self.running()
        if running is not None:
            return running
        self._forget()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._start_head()
            except Unavailable as error:
                if attempt == _ATTEMPTS:
                    raise
                # A node has 30 s to start, hard-coded in Ray: a busy machine can miss it.
                _log.warning("%s; attempt %d of %d", error, attempt + 1, _ATTEMPTS)
        raise AssertionError("unreachable")

    def stop(self) -> bool:
        """Ends the head and all that it has started; False where none runs."""
        head = self._read()
        process = head.process() if head is not None else None
        if process is not None:
            _end(process)
        self._forget()
        return process is not None

    def _start_head(self) -> Head:
        scratch = Path(tempfile.mkdtemp(prefix="optagent-up-"))
        gcs, dashboard = free_port(6379), free_port(8265)
        environment = _environment(scratch)
        if not (Path.home() / ".ray" / "auth_token").exists():  # asking Ray takes seconds
            subprocess.run([_ray(), "get-auth-token", "--generate"], env=environment, capture_output=True, check=False)
        with self.log.open("wb") as output:
            launched = subprocess.Popen(
                [_ray(), "start", "--head", "--block", *self._options(gcs, dashboard)],
                env=environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        process = psutil.Process(launched.pid)
        try:
            self._wait(launched, dashboard)
        except BaseException:
            _end(process)
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        head = Head(
            launched.pid, process.create_time(), f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", str(scratch)
        )
        self._write(head)
        return head

    def _options(self, gcs: int, dashboard: int) -> list[str]:
        options = {
            "--port": gcs,
            "--dashboard-host": "127.0.0.1",
            "--dashboard-port": dashboard,
            "--dashboard-agent-listen-port": free_port(52365),
            "--ray-client-server-port": free_port(10001),
        }
        if self._num_cpus is not None:
            options["--num-cpus"] = self._num_cpus
        return [f"{name}={value}" for name, value in options.items()]

    def _wait(self, head: "subprocess.Popen[bytes]", dashboard: int) -> None:
        """Returns once Ray logs that it has started and its dashboard listens; Unavailable where it does not."""
        give_up = time.monotonic() + _START_S
        while _STARTED_MESSAGE not in self._read_log() or not _listens(dashboard):
            if head.poll() is not None:
                raise Unavailable(f"Ray does not start on this machine: {self._reason()} (see {self.log})")
            if time.monotonic() > give_up:
                raise Unavailable(f"Ray has not started within {_START_S:g} s: {self._reason()} (see {self.log})")
            time.sleep(_POLL_S)

    def _read_log(self) -> str:
        return self.log.read_text(errors="replace")

    def _reason(self) -> str:
        lines = [line.strip() for line in self._read_log().splitlines() if line.strip()]
        return lines[-1] if lines else "it says nothing"

    def _read(self) -> Head | None:
        try:
            return Head(**json.loads(self._state.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, head: Head) -> None:
        new = self._state.with_suffix(".new")
        new.write_text(json.dumps(asdict(head)))
        new.replace(self._state)

    def _forget(self) -> None:
        head = self._read()
        if head is not None:
            shutil.rmtree(head.scratch, ignore_errors=True)
            self._state.unlink(missing_ok=True)


def _environment(scratch: Path) -> dict[str, str]:
    """Our variables, overridden by this program's except PYTHONDONTWRITEBYTECODE, with which workers would compile
    their imports each time."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}"  # jobs find their `python` by it
    return {**HEAD, **serve_on_this_machine(scratch), **inherited, "PATH": path}


def _ray() -> str:
    return str(Path(sys.executable).with_name("ray"))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: psutil.Process) -> None:
    """Ends a process and its descendants; kills those that do not end by themselves."""
    with contextlib.suppress(psutil.NoSuchProcess):
        tree = [process, *process.children(recursive=True)]
        process.terminate()
        _, survivors = psutil.wait_procs(tree, timeout=_STOP_S)
        for survivor in survivors:
            with contextlib.suppress(psutil.NoSuchProcess):
                survivor.kill()
        psutil.wait_procs(survivors, timeout=_STOP_S)
