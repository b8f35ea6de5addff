"""The process that loads one version: it compiles it and ends, or stays and answers for it. See `isolated`.

Its arguments are two sockets: over the first it is asked, and when the other end of the second closes it is ended.
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
"""Encoded rows that a version of a model may be tried on, if there are any."""

_MOST_BYTES = 2**31
_NICE = 10
_HOP_US = 150.0  # measured: one row to this process and back


@dataclass(frozen=True, slots=True)
class _Loaded:
    predictor: Predictor
    told: Mapping[str, Any]
    graph: bytes = b""


def main(channel: socket.socket, lifeline: socket.socket) -> None:
    """Loads what is asked for and tells of it; answers for it, unless it compiled."""
    _end_with(lifeline)
    request, recipes = receive(channel, _MOST_BYTES)
    _limit_memory(request["memory_bytes"])
    try:
        loaded = _in_the_background(lambda: _load(request, recipes))
    except Exception as error:
        known = isinstance(error, OptAgentError)
        said = str(error) if known else f"{type(error).__name__}: {error}"
        send(channel, {"error": type(error).__name__ if known else "EngineFailed", "message": said[:2000]})
        return
    send(channel, loaded.told, loaded.graph)
    if not loaded.graph:
        _answer(channel, loaded.predictor)


def _load(request: Mapping[str, Any], recipes: bytes | bytearray) -> _Loaded:
    if request["bundle"]:  # it was loaded before: neither registry nor compiler are asked again
        predictor = load_bundle(Path(request["bundle"]), request["digest"])
        return _Loaded(predictor, _told(request, predictor, request["bundle"], request["digest"], "started again"))
    make_registry, rows_for = pickle.loads(recipes)  # noqa: S301 - what the parent itself was given
    model_id, version = request["model_id"], request["version"]
    bundle, digest = _fetched(make_registry, model_id, version, Path(request["cache"]))
    predictor = load_bundle(bundle, digest)
    graph, reason = _compiled(predictor, model_id, version, rows_for)
    return _Loaded(predictor, _told(request, predictor, str(bundle), digest, reason), graph)


def _told(request: Mapping[str, Any], predictor: Predictor, bundle: str, digest: str, reason: str) -> dict[str, Any]:
    return {
        "version": request["version"],
        "schema": encode(predictor.schema).decode(),
        "bundle": bundle,
        "digest": digest,
        "reason": reason,
    }


def _fetched(make_registry: Callable[[], Registry], model_id: str, version: str, cache: Path) -> tuple[Path, str]:
    """The version's bundle and digest. While the registry is away, what was fetched before serves."""
    folder = cache / model_id / version
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        try:
            registry = make_registry()
            found = registry.version(model_id, version)
            return registry.fetch(found, folder), found.digest
        except Unavailable:
            for kept in sorted(folder.glob("[!.]*")):
                with contextlib.suppress(CorruptBundle):
                    return kept, bundle_digest(kept)
            raise


def _compiled(predictor: Predictor, model_id: str, version: str, rows_for: RowsFor | None) -> tuple[bytes, str]:
    """The ONNX graph, if it answers like the model itself and sooner than this process does; and why, or why not."""
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
        chosen = choose_engine(predictor, rows, compiled, native_costs_us=_HOP_US)
    except InvalidData as error:
        return b"", str(error)
    return (compiled.graph if chosen.engine is compiled.engine else b""), chosen.reason


def _answer(channel: socket.socket, predictor: Predictor) -> None:
    """Scores for each matrix that is sent, until the other end closes."""
    engine = NativeEngine(predictor)
    wide = (len(predictor.manifest.classes),) if predictor.manifest.task is Task.MULTICLASS else ()
    while True:
        try:
            asked, payload = receive(channel, _MOST_BYTES)
        except BrokenFrame:
            return
        x = np.frombuffer(payload, dtype=np.float32).reshape(asked["rows"], -1)
        try:
            scores = np.ascontiguousarray(engine.scores(x), dtype=np.float64).reshape(len(x), *wide)
        except (Exception, SystemExit) as error:  # whatever a model raises, the next rows may be in order
            send(channel, {"call": asked["call"], "error": f"{type(error).__name__}: {str(error)[:500]}"})
        else:
            send(channel, {"call": asked["call"]}, scores.tobytes())


def _in_the_background(load: Callable[[], _Loaded]) -> _Loaded:
    """Loads in a thread that yields to who answers requests on this machine; Linux ranks threads, not processes."""
    found: list[_Loaded] = []
    failed: list[BaseException] = []

    def run() -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        try:
            found.append(load())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _end_with(lifeline: socket.socket) -> None:
    """The kernel kills this process when the parent's end closes, even where a library hangs and holds the GIL."""
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
    for what, limit in ((resource.RLIMIT_AS, most), (resource.RLIMIT_CORE, 0)):
        allowed = resource.getrlimit(what)[1]
        limit = limit if allowed == resource.RLIM_INFINITY else min(limit, allowed)
        resource.setrlimit(what, (limit, limit))


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2])))
