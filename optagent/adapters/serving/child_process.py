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

# fmt: off
_PLAIN = frozenset((
    "PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT",
    "CUDA_VISIBLE_DEVICES", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONHASHSEED", "PYTHONUTF8",
    "PYTHONIOENCODING", "PYTHONUNBUFFERED", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
    "PYTHONFAULTHANDLER", "PYTHONMALLOC",
))
# fmt: on
_PLAIN_BEGINNINGS = ("LC_", "OMP_", "OPENBLAS_", "MKL_")
_MOST_LOADED = 2**31
_MOST_ERROR = 10_000


class ModelRaised(Exception):
    """The model raised; its process goes on."""


class ChildProcess:
    """A process in a session of its own, which ends with this process in any case. Use it from one thread at a time."""

    def __init__(self, module: str, has_secrets: bool = False) -> None:
        """Starts `python -m module`. Only with `has_secrets` does it get the whole environment of this process."""
        self._channel, channel = socket.socketpair()
        self._lifeline, lifeline = socket.socketpair()
        with channel, lifeline:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(channel.fileno()), str(lifeline.fileno())],
                pass_fds=(channel.fileno(), lifeline.fileno()),
                env=_environment(has_secrets),
                stdin=subprocess.DEVNULL,
                stdout=2,  # the output of a model belongs in the log
                start_new_session=True,
            )
        self._call = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def load(self, request: Mapping[str, Any], recipe: bytes, within_s: float) -> tuple[dict[str, Any], bytes]:
        """The child's answer to its first request; BrokenFrame with the reason if there is none."""
        with self._add_exit_code():
            send(self._channel, request, recipe, within_s)
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


def _environment(has_secrets: bool) -> dict[str, str]:
    """The module path of this process, one thread for each numeric library, and of this environment what is no secret.

    That is a list of what is allowed: nobody can list what may be secret.
    """
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    path = os.pathsep.join(str(Path(entry or ".").absolute()) for entry in sys.path)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if has_secrets or name in _PLAIN or name.startswith(_PLAIN_BEGINNINGS)
    }
    return {**inherited, "PYTHONPATH": path, **threads}
