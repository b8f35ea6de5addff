"""Child process of an isolated model: starts it and calls it with time limits; it trusts only the form of answers."""

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
    """A process in a session of its own, which ends with this process in any case. Use it from one thread at a time."""

    def __init__(self) -> None:
        self._channel, channel = socket.socketpair()
        self._lifeline, lifeline = socket.socketpair()
        with channel, lifeline:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _CHILD, str(channel.fileno()), str(lifeline.fileno())],
                pass_fds=(channel.fileno(), lifeline.fileno()),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=2,  # the output of a model belongs in the log
                start_new_session=True,
            )
        self._call = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def load(self, request: Mapping[str, Any], recipes: bytes, within_s: float) -> tuple[dict[str, Any], bytes]:
        """The child's description of the version, and its graph; BrokenFrame with the reason if there is no answer."""
        with self._add_exit_code():
            send(self._channel, request, recipes, within_s)
            answer, graph = receive(self._channel, _MOST_LOADED, within_s)
            return answer, bytes(graph)

    def scores(self, x: Matrix, shape: tuple[int, ...], within_s: float) -> Prediction:
        """Scores of that shape; raises ModelRaised, or BrokenFrame, after which the process cannot be used any more."""
        self._call += 1
        with self._add_exit_code():
            send(
                self._channel,
                {"call": self._call, "rows": len(x)},
                np.ascontiguousarray(x).data.cast("B"),
                within_s,
            )
            size = 8 * int(np.prod(shape))
            answer, payload = receive(self._channel, size + _MOST_ERROR, within_s)
            if answer.get("call") != self._call:
                raise BrokenFrame("the answer is to another call")
            if "error" in answer:
                raise ModelRaised(str(answer["error"]))
            if len(payload) != size:
                raise BrokenFrame(f"{len(payload):,} bytes of scores, {size:,} were needed")
        return np.frombuffer(payload, dtype=np.float64).reshape(shape)

    def end(self) -> None:
        """Kills the process and all that it started; a second call does nothing."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._channel.close()
        self._lifeline.close()

    @contextlib.contextmanager
    def _add_exit_code(self) -> Any:
        """Raises BrokenFrame with the exit code where the process has ended."""
        try:
            yield
        except BrokenFrame as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise BrokenFrame(f"its process ended with {_describe_exit(self._process.wait(0.1))}") from error
            raise


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _environment() -> dict[str, str]:
    """This environment with the module path of this process and one thread for each numeric library."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    path = os.pathsep.join(str(Path(entry or ".").absolute()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, **threads}
