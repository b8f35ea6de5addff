"""Isolated models: loads versions in child processes, so that no model's code or library can harm the gateway.

A version that compiles to ONNX is scored in the gateway, by a graph that we wrote; any other is scored by its process.
"""

import logging
import pickle
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from optagent import errors
from optagent.adapters.serving.bundle_cache import BundleCache
from optagent.adapters.serving.child_process import ChildProcess, ModelRaised
from optagent.adapters.serving.frames import BrokenFrame
from optagent.arrays import Matrix, Prediction
from optagent.codec import decode
from optagent.errors import Conflict, CorruptBundle, EngineFailed, InvalidRequest, OptAgentError, Unavailable
from optagent.ports import Registry
from optagent.retry import GrowingPauses
from optagent.serving.attribution_data import unpack_arrays
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import count_outputs
from optagent.serving.onnx_engine import OnnxEngine
from optagent.serving.reasons import RowExplainer
from optagent.serving.row_reader import MOST_ROWS
from optagent.training.encoding import Schema
from optagent.training.families.feasible import check_columns

_SCORER, _FETCHER = "optagent.adapters.serving.isolated_child", "optagent.adapters.serving.bundle_fetcher"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """The limits of a child process. Memory limits addresses, of which libraries reserve more than they use."""

    load_s: float = 120.0
    call_s: float = 5.0
    memory_bytes: int = 8 * 2**30


@dataclass(frozen=True, slots=True)
class _BundleKey:
    """A version and the digest of its bundle, "" where only the registry knows it."""

    model_id: str
    version: str
    digest: str

    @property
    def label(self) -> str:
        return f"{self.model_id} version {self.version}"


@dataclass(frozen=True, slots=True)
class _LoadedChild:
    """A child that has loaded a bundle, its description of the version, and the graph, if there is one."""

    child: ChildProcess
    key: _BundleKey
    description: dict[str, Any]
    graph: bytes


class IsolatedLoader:
    """Loads versions of a registry, each in a child; bundles are cached in the folder `cache`, by their digests.

    A bundle that is not cached is fetched by another child, with the registry that `registry` makes there: the child
    that runs a model gets no secrets. `rows_for` (model id, version, schema) returns encoded rows on which engines are
    compared, if there are any. Both are pickled by reference.
    """

    def __init__(
        self,
        registry: Callable[[], Registry],
        cache: Path,
        rows_for: Callable[[str, str, Schema], Matrix | None] | None = None,
        most_rows: int = MOST_ROWS,
        limits: ProcessLimits | None = None,
    ) -> None:
        self._registry, self._rows_for = pickle.dumps(registry), pickle.dumps(rows_for)
        self._folder, self._cache = cache, BundleCache(cache)
        self._most_rows = most_rows
        self._limits = limits or ProcessLimits()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._loading: set[ChildProcess] = set()
        self._engines: list[IsolatedEngine] = []

    def load(self, model_id: str, version: str, digest: str = "") -> ServedModel:
        loaded = self._load_child(_BundleKey(model_id, version, digest))
        child, label = loaded.child, loaded.key.label
        try:
            schema = decode(Schema, loaded.description["schema"])
            outputs = count_outputs(schema.task, schema.classes)
            if loaded.graph:
                child.end()
                engine: Any = OnnxEngine(loaded.graph, len(schema.columns), outputs)
            else:
                engine = IsolatedEngine(
                    label,
                    schema,
                    child,
                    lambda: self._load_child(loaded.key, compiles=False).child,
                    self._limits.call_s,
                )
                with self._lock:
                    self._engines = [*(other for other in self._engines if not other.is_closed), engine]
            reason = str(loaded.description["reason"])
            model = ServedModel(schema, engine, version, self._most_rows, reason=reason)
            model.load_explainer = partial(self._load_explainer, loaded.key, schema)
            return model
        except (KeyError, InvalidRequest) as error:
            child.end()
            raise EngineFailed(f"{label}: what its process tells is not understood: {error}") from None

    def keep(self, digests: Collection[str]) -> None:
        self._cache.keep(digests)

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            loading, engines = list(self._loading), list(self._engines)
        for child in loading:
            child.end()
        for engine in engines:
            engine.close()

    def _load_explainer(self, key: _BundleKey, schema: Schema) -> RowExplainer:
        """The explainer of a version, from arrays that a child reads in its bundle; raises Conflict for none."""
        try:
            loaded = self._load_child(key, compiles=False, explains=True)
        except Conflict as refusal:
            raise Conflict(f"{key.label}: {refusal}") from None
        loaded.child.end()
        return RowExplainer(schema, unpack_arrays(loaded.graph))

    def _load_child(self, key: _BundleKey, compiles: bool = True, explains: bool = False) -> _LoadedChild:
        """A child that has loaded the bundle, which is fetched first where the cache has no sound copy."""
        if key.digest and self._cache.has(key.digest):
            try:
                return self._start_scorer(key, compiles, explains)
            except CorruptBundle as error:
                _log.warning("%s: the cached bundle is refused: %s", key.label, error)
        key = replace(key, digest=self._fetch_bundle(key))
        return self._start_scorer(key, compiles, explains)

    def _fetch_bundle(self, key: _BundleKey) -> str:
        """Has the bundle fetched into the cache; answers its digest."""
        request = {
            "model_id": key.model_id,
            "version": key.version,
            "digest": key.digest,
            "cache": str(self._folder),
        }
        child, answer, _ = self._start_child(_FETCHER, key.label, request, self._registry)
        child.end()
        return str(answer["digest"])

    def _start_scorer(self, key: _BundleKey, compiles: bool, explains: bool) -> _LoadedChild:
        request = {
            "model_id": key.model_id,
            "version": key.version,
            "bundle": str(self._cache.path(key.digest)),
            "digest": key.digest,
            "compiles": compiles,
            "explains": explains,
            "memory_bytes": self._limits.memory_bytes,
        }
        child, description, graph = self._start_child(_SCORER, key.label, request, self._rows_for)
        return _LoadedChild(child, key, description, graph)

    def _start_child(
        self, module: str, label: str, request: dict[str, Any], recipe: bytes
    ) -> tuple[ChildProcess, dict[str, Any], bytes]:
        """A child and its answer to the request; a child that refuses it is ended, and its error raised."""
        self._require_open(label)
        child = ChildProcess(module, has_secrets=module == _FETCHER)
        with self._lock:
            self._loading.add(child)
        try:
            answer, graph = child.load(request, recipe, self._limits.load_s)
            if "error" in answer:
                raise _as_error(str(answer["error"]), str(answer.get("message")))
            self._require_open(label)
        except BrokenFrame as error:
            child.end()
            raise EngineFailed(f"{label} cannot be loaded: {error}") from None
        except BaseException:
            child.end()
            raise
        finally:
            with self._lock:
                self._loading.discard(child)
        return child, answer, graph

    def _require_open(self, label: str) -> None:
        if self._closed.is_set():
            raise Unavailable(f"{label}: the loader is closed")


class IsolatedEngine:
    """Calls a child, one call at a time. A child that is late, crashes or sends no valid answer is replaced in the
    background; until then calls fail at once."""

    name = "isolated"
    blocks = True

    def __init__(
        self, named: str, schema: Schema, child: ChildProcess, start: Callable[[], ChildProcess], call_s: float
    ) -> None:
        self._label = named
        self._columns = len(schema.columns)
        outputs = count_outputs(schema.task, schema.classes)
        self._wide = (outputs,) if schema.task.classifies and outputs > 1 else ()
        self._start = start
        self._call_s = call_s
        self._child: ChildProcess | None = child
        self._pauses = GrowingPauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, factor=4.0)
        self._reason = ""
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def pid(self) -> int | None:
        """The process id of the child; None while there is none."""
        child = self._child
        return None if child is None else child.pid

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def scores(self, x: Matrix) -> Prediction:
        """Raises EngineFailed."""
        check_columns(x, self._columns)
        with self._lock:
            child = self._child
            if child is None:
                raise EngineFailed(f"{self._label} is being started again: {self._reason}")
            try:
                scores = child.scores(x, (len(x), *self._wide), self._call_s)
            except ModelRaised as error:
                raise EngineFailed(f"{self._label}: {error}") from None
            except BrokenFrame as error:
                self._reason = str(error)
                self._replace(child)
                raise EngineFailed(f"{self._label}: {error}") from None
            self._pauses.restart()
            return scores

    def close(self) -> None:
        self._closed.set()
        child = self._child
        if child is not None:
            child.end()

    def _replace(self, child: ChildProcess) -> None:
        self._child = None
        child.end()
        if not self._closed.is_set():
            threading.Thread(target=self._start_again, name="optagent-start-again", daemon=True).start()

    def _start_again(self) -> None:
        """Starts another child, almost at once after the first failure, with growing pauses while no call succeeds."""
        while True:
            if self._closed.wait(next(self._pauses)):
                return
            try:
                child = self._start()
            except OptAgentError as error:
                self._reason = str(error)
                continue
            with self._lock:
                self._child = child
            if self._closed.is_set():
                child.end()
            return


def _as_error(name: str, message: str) -> OptAgentError:
    """The error that the child names, if it is one of ours, else EngineFailed."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, OptAgentError):
        return kind(message)
    return EngineFailed(message)
