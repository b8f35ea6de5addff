"""Fake loader: versions that answer in this process, with any engine."""

import threading
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

from optagent.errors import CorruptBundle
from optagent.ports import Registry
from optagent.serving.attribution_data import read_attribution
from optagent.serving.engine import ServedModel
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_compiler import compile_onnx
from optagent.serving.reasons import RowExplainer
from optagent.serving.row_reader import MOST_ROWS
from optagent.training.bundle import load_bundle


class InMemoryLoader:
    """Loads from any registry. It measures nothing: a version that compiles is served compiled."""

    def __init__(self, registry: Registry, most_rows: int = MOST_ROWS) -> None:
        self._registry = registry
        self._most_rows = most_rows
        self._loaded: list[ServedModel] = []
        self._lock = threading.Lock()

    def load(self, model_id: str, version: str, digest: str = "") -> ServedModel:
        found = self._registry.version(model_id, version)
        if digest not in ("", found.digest):
            raise CorruptBundle(f"{model_id} version {version}: {digest} is asked for, the registry has {found.digest}")
        with TemporaryDirectory(prefix="optagent-version-") as scratch:
            predictor = load_bundle(self._registry.fetch(found, Path(scratch)), found.digest)
        compiled = compile_onnx(predictor)
        engine = compiled.engine or NativeEngine(predictor)
        model = ServedModel(predictor.schema, engine, found.version, self._most_rows, reason=compiled.reason)
        model.load_explainer = lambda: RowExplainer(predictor.schema, read_attribution(predictor))
        with self._lock:
            self._loaded.append(model)
        return model

    def keep(self, digests: Collection[str]) -> None:
        """It keeps no bundles."""

    def close(self) -> None:
        with self._lock:
            for model in self._loaded:
                model.close()
            self._loaded.clear()
