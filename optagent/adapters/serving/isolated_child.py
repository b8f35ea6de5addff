"""Isolated model process: loads one version, then either compiles it and ends, or stays and scores. See `isolated`.

Its arguments are two sockets: requests come over the first, and the process ends when the other end of the second
closes.
"""

import contextlib
import os
import pickle
import select
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from optagent.adapters.serving.frames import BrokenFrame, receive, send
from optagent.arrays import Matrix
from optagent.codec import encode
from optagent.domain.model import Task
from optagent.errors import CorruptBundle, InvalidData, OptAgentError, Unavailable
from optagent.ports import Registry
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_compiler import compile_onnx
from optagent.serving.parity import choose_engine, random_rows
from optagent.training.bundle import bundle_digest, load_bundle
from optagent.training.encoding import Schema
from optagent.training.predictor import Predictor

RowsFor = Callable[[str, str, Schema], Matrix | None]
"""A function that returns encoded rows on which a version of a model is tried, if there are any."""

_MOST_BYTES = 2**31
_NICE = 10
_HOP_US = 150.0  # measured: one row to this process and back


@dataclass(frozen=True, slots=True)
class _Loaded:
    predictor: Predictor
    description: Mapping[str, Any]
    graph: bytes = b""


def main(channel: socket.socket, lifeline: socket.socket) -> None:
    """Loads the version of the request and describes it; then scores with it, unless it compiled."""
    _end_with_parent(lifeline)
    request, recipes = receive(channel, _MOST_BYTES)
    _limit_memory(request["memory_bytes"])
    try:
        loaded = _run_niced(lambda: _load(request, recipes))
    except Exception as error:
        is_ours = isinstance(error, OptAgentError)
        message = str(error) if is_ours else f"{type(error).__name__}: {error}"
        send(channel, {"error": type(error).__name__ if is_ours else "EngineFailed", "message": message[:2000]})
        return
    send(channel, loaded.description, loaded.graph)
    if not loaded.graph:
        _serve(channel, loaded.predictor)


def _load(request: Mapping[str, Any], recipes: bytes | bytearray) -> _Loaded:
    if request["bundle"]:  # it was loaded before, so neither the registry nor the compiler is needed
        predictor = load_bundle(Path(request["bundle"]), request["digest"])
        return _Loaded(predictor, _describe(request, predictor, request["bundle"], request["digest"], "started again"))
    make_registry, rows_for = pickle.loads(recipes)  # noqa: S301 - the parent's own functions
    model_id, version = request["model_id"], request["version"]
    bundle, digest = _fetch_bundle(make_registry, model_id, version, Path(request["cache"]))
    predictor = load_bundle(bundle, digest)
    graph, reason = _compile(predictor, model_id, version, rows_for)
    return _Loaded(predictor, _describe(request, predictor, str(bundle), digest, reason), graph)


def _describe(
    request: Mapping[str, Any], predictor: Predictor, bundle: str, digest: str, reason: str
) -> dict[str, Any]:
    return {
        "version": request["version"],
        "schema": encode(predictor.schema).decode(),
        "bundle": bundle,
        "digest": digest,
        "reason": reason,
    }


def _fetch_bundle(make_registry: Callable[[], Registry], model_id: str, version: str, cache: Path) -> tuple[Path, str]:
    """The version's bundle and digest; an earlier fetch serves while the registry is away."""
    folder = cache / model_id / version
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        try:
            registry = make_registry()
            model_version = registry.version(model_id, version)
            return registry.fetch(model_version, folder), model_version.digest
        except Unavailable:
            for bundle in sorted(folder.glob("[!.]*")):
                with contextlib.suppress(CorruptBundle):
                    return bundle, bundle_digest(bundle)
            raise


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


def _end_with_parent(lifeline: socket.socket) -> None:
    """Has the kernel kill this process when the parent's end closes, even if a library hangs and holds the GIL."""
    if sys.platform == "linux":
        import fcntl
        import signal

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([lifeline], [], [], 0)[0]:
            os._exit(1)
        return

    def wait() -> None:
        lifeline.recv(1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


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
