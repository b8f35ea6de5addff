"""Conversion in a process of its own: foreign files may abort a library, and a pickle may run any code at all.

The process gets no secret: an environment of its own, an empty home, limits on memory, time and files. It still is the
same user on the same machine and network, so a pickle is opened only for who trusts it.
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
_SHOWN = 500


class FileKind(StrEnum):
    """How a model's file is opened."""

    LIGHTGBM = "lightgbm"
    XGBOOST = "xgboost"
    XGBOOST_SKLEARN = "xgboost_sklearn"
    SKOPS = "skops"
    SKOPS_LIGHTGBM = "skops_lightgbm"
    PICKLE = "pickle"


def converted(request: Mapping[str, Any], folder: Path, time_limit_s: float = TIME_LIMIT_S) -> dict[str, Any]:
    """What the process tells of the model; its files are then in `folder`.

    Raises the refusals of the process, and CorruptBundle where it dies or takes too long.
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
    return _told(folder, code, errors)


def _environment(home: Path) -> dict[str, str]:
    """Nothing is inherited but where the libraries of the system are."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    return {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8", **threads, **kept}


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Ends the process and whatever it started in its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _told(folder: Path, code: int, errors: Path) -> dict[str, Any]:
    """What the process has written is data of unknown origin, and no more is believed than its form."""
    try:
        told = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = None
    if isinstance(told, dict) and "error" in told:
        raise _ERRORS.get(str(told["error"]), CorruptBundle)(str(told.get("message"))[:2000])
    if isinstance(told, dict) and code == 0:
        return told
    last = errors.read_bytes()[-_SHOWN:].decode("utf-8", "replace").strip().splitlines()
    raise CorruptBundle(f"the process that converts the model ended with {code}: {last[-1] if last else 'no message'}")
