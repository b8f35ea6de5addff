"""One child process and what it is asked, each call with a time limit; nothing it says is believed but its form."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from optagent.adapters.serving.frames import BrokenFrame, receive, send
from optagent.arrays import Matrix, Prediction

_CHILD = "optagent.adapters.serving.isolated_child"
_MOST_LOADED = 2**31
_MOST_ERROR = 10_000


class ModelRaised(Exception):
    """The model raised; its process goes on."""


class ChildProcess:
    """A process of its own session, which ends with this one, however this one ends. Not for several threads."""

    def __init__(self) -> None:
        self._channel, channel = socket.socketpair()
        self._lifeline, lifeline = socket.socketpair()
        with channel, lifeline:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _CHILD, str(channel.fileno()), str(lifeline.fileno())],
                pass_fds=(channel.fileno(), lifeline.fileno()),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a model prints belongs into the log
                start_new_session=True,
            )
        self._call = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def load(self, request: Mapping[str, Any], recipes: bytes, within_s: float) -> tuple[dict[str, Any], bytes]:
        """What it tells of the version, and its graph; BrokenFrame says why there is no answer."""
        with self._explained():
            send(self._channel, request, recipes, within_s)
            told, graph = receive(self._channel, _MOST_LOADED, within_s)
            return told, bytes(graph)

    def scores(self, x: Matrix, shape: tuple[int, ...], within_s: float) -> Prediction:
        """Scores of that shape; ModelRaised, or BrokenFrame after which the process is of no use."""
        self._call += 1
        with self._explained():
            send(
                self._channel,
                {"call": self._call, "rows": len(x)},
                np.ascontiguousarray(x).data.cast("B"),
                within_s,
            )
            size = 8 * int(np.prod(shape))
            told, payload = receive(self._channel, size + _MOST_ERROR, within_s)
            if told.get("call") != self._call:
                raise BrokenFrame("the answer is to another call")
            if "error" in told:
                raise ModelRaised(str(told["error"]))
            if len(payload) != size:
                raise BrokenFrame(f"{len(payload):,} bytes of scores, {size:,} were needed")
        return np.frombuffer(payload, dtype=np.float64).reshape(shape)

    def end(self) -> None:
        """Kills the process and all that it started; once more does nothing."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._channel.close()
        self._lifeline.close()

    @contextlib.contextmanager
    def _explained(self) -> Any:
        """Where the process has ended, that is what there is to say."""
        try:
            yield
        except BrokenFrame as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise BrokenFrame(f"its process ended with {_named(self._process.wait(0.1))}") from error
            raise


def _named(code: int) -> str:
    if code >= 0:
        return f"code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _environment() -> dict[str, str]:
    """Modules are found where this process finds them; libraries answer on one thread."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    path = os.pathsep.join(str(Path(entry or ".").absolute()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, **threads}
