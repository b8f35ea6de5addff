"""Model conversion: converts a foreign model in a process of its own, since its file may abort a library or run code.

The process gets no secret: an environment of its own, an empty home, limits on memory, time and files. It is still the
same user on the same machine and network, so a pickle is opened only if the caller trusts it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from optagent.errors import CorruptBundle, InvalidData, InvalidRequest

TIME_LIMIT_S = 600.0
_ERRORS = {"InvalidRequest": InvalidRequest, "InvalidData": InvalidData, "CorruptBundle": CorruptBundle}
_CHILD = "optagent.adapters.models.conversion_child"
_MESSAGE_BYTES = 500


class FileKind(StrEnum):
    """The kinds of model files, by the way they are opened."""

    LIGHTGBM = "lightgbm"
    XGBOOST = "xgboost"
    XGBOOST_SKLEARN = "xgboost_sklearn"
    SKOPS = "skops"
    SKOPS_LIGHTGBM = "skops_lightgbm"
    PICKLE = "pickle"


def convert_in_process(request: Mapping[str, Any], folder: Path, time_limit_s: float = TIME_LIMIT_S) -> dict[str, Any]:
    """The description of the model by the process; the model's files are then in `folder`.

    Raises the refusals of the process, and CorruptBundle if it dies or takes too long.
    """
    home = folder / "home"
    home.mkdir()
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    errors = folder / "stderr"
    with errors.open("wb") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-I", "-m", _CHILD, str(folder)],
            cwd=home,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            code = child.wait(time_limit_s)
        except subprocess.TimeoutExpired:
            raise CorruptBundle(f"the conversion took more than {time_limit_s:g} s") from None
        finally:
            _end(child)
    return _read_answer(folder, code, errors)


def _environment(home: Path) -> dict[str, str]:
    """The environment of the process, which inherits only the paths of the system's libraries."""
    inherited = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    return {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8", **threads, **inherited}


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Ends the process and all that it started in its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _read_answer(folder: Path, code: int, errors: Path) -> dict[str, Any]:
    """The answer that the process has written: data of unknown origin, of which only the form is checked here."""
    try:
        answer = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        answer = None
    if isinstance(answer, dict) and "error" in answer:
        raise _ERRORS.get(str(answer["error"]), CorruptBundle)(str(answer.get("message"))[:2000])
    if isinstance(answer, dict) and code == 0:
        return answer
    lines = errors.read_bytes()[-_MESSAGE_BYTES:].decode("utf-8", "replace").strip().splitlines()
    raise CorruptBundle(
        f"the process that converts the model ended with {code}: {lines[-1] if lines else 'no message'}"
    )
