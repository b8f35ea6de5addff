"""Isolated model process: loads one version, then compiles it or reads its arrays and ends, or stays and scores.

Its arguments are two sockets: requests come over the first, and the process ends when the other end of the second
closes. It may run a user's code, so it has neither secrets nor the registry: it gets the folder of a bundle, and its
digest.
"""

import contextlib
import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from optagent.adapters.serving.frames import BrokenFrame, describe_refusal, receive, send
from optagent.adapters.serving.lifeline import end_with_parent
from optagent.arrays import Matrix
from optagent.codec import encode
from optagent.domain.model import Task
from optagent.errors import InvalidData, OptAgentError
from optagent.serving.attribution_data import pack_arrays, read_attribution
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_compiler import compile_onnx
from optagent.serving.parity import choose_engine, random_rows
from optagent.training.bundle import load_bundle
from optagent.training.encoding import Schema
from optagent.training.predictor import Predictor

RowsFor = Callable[[str, str, Schema], Matrix | None]
"""A function that returns encoded rows on which a version of a model is tried, if there are any."""

_MOST_BYTES = 2**31
_NICE = 10
_HOP_US = 150.0  # measured: one row to this process and back


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A loaded version, and what is sent of it besides: an ONNX graph, or the arrays that explain it."""

    predictor: Predictor
    description: Mapping[str, Any]
    graph: bytes = b""


def main(channel: socket.socket, lifeline: socket.socket) -> None:
    """Loads the version of the request and describes it; then scores with it, unless it compiled."""
    end_with_parent(lifeline)
    request, recipe = receive(channel, _MOST_BYTES)
    _limit_memory(request["memory_bytes"])
    try:
        loaded = _run_niced(lambda: _load(request, recipe))
    except Exception as error:
        send(channel, describe_refusal(error))
        return
    send(channel, loaded.description, loaded.graph)
    if not loaded.graph:
        _serve(channel, loaded.predictor)


def _load(request: Mapping[str, Any], recipe: bytes | bytearray) -> _Loaded:
    predictor = load_bundle(Path(request["bundle"]), request["digest"])
    if request["explains"]:
        arrays = pack_arrays(read_attribution(predictor))
        return _Loaded(predictor, _describe(request, predictor, "its arrays are read"), arrays)
    if not request["compiles"]:  # it was loaded before, and did not compile
        return _Loaded(predictor, _describe(request, predictor, "started again"))
    rows_for = pickle.loads(recipe)  # noqa: S301 - the parent's own function
    graph, reason = _compile(predictor, request["model_id"], request["version"], rows_for)
    return _Loaded(predictor, _describe(request, predictor, reason), graph)


def _describe(request: Mapping[str, Any], predictor: Predictor, reason: str) -> dict[str, Any]:
    return {"version": request["version"], "schema": encode(predictor.schema).decode(), "reason": reason}


def _compile(predictor: Predictor, model_id: str, version: str, rows_for: RowsFor | None) -> tuple[bytes, str]:
    """The ONNX graph, empty unless it scores like the model and faster than this process; and the reason."""
    compiled = compile_onnx(predictor)
    if compiled.engine is None:
        return b"", compiled.reason
    rows = None
    if rows_for is not None:
        with contextlib.suppress(OptAgentError):
            rows = rows_for(model_id, version, predictor.schema)
    if rows is None or not len(rows):
        rows = random_rows(predictor.schema, compiled.thresholds)
    try:
        choice = choose_engine(predictor, rows, compiled, native_costs_us=_HOP_US)
    except InvalidData as error:
        return b"", str(error)
    return (compiled.graph if choice.engine is compiled.engine else b""), choice.reason


def _serve(channel: socket.socket, predictor: Predictor) -> None:
    """Sends scores for each matrix that comes, until the other end closes."""
    engine = NativeEngine(predictor)
    wide = (len(predictor.manifest.classes),) if predictor.manifest.task is Task.MULTICLASS else ()
    while True:
        try:
            request, payload = receive(channel, _MOST_BYTES)
        except BrokenFrame:
            return
        x = np.frombuffer(payload, dtype=np.float32).reshape(request["rows"], -1)
        try:
            scores = np.ascontiguousarray(engine.scores(x), dtype=np.float64).reshape(len(x), *wide)
        except (Exception, SystemExit) as error:  # the next rows may work whatever a model raises here
            send(channel, {"call": request["call"], "error": f"{type(error).__name__}: {str(error)[:500]}"})
        else:
            send(channel, {"call": request["call"]}, scores.tobytes())


def _run_niced(load: Callable[[], _Loaded]) -> _Loaded:
    """Loads in a niced thread, which yields to gateways on this machine; on Linux priorities belong to threads."""
    results: list[_Loaded] = []
    errors: list[BaseException] = []

    def run() -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        try:
            results.append(load())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _limit_memory(most: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for resource_kind, limit in ((resource.RLIMIT_AS, most), (resource.RLIMIT_CORE, 0)):
        allowed = resource.getrlimit(resource_kind)[1]
        limit = limit if allowed == resource.RLIM_INFINITY else min(limit, allowed)
        resource.setrlimit(resource_kind, (limit, limit))


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2])))
