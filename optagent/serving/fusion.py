"""Fusion of the versions of a mixture: one session that asks all of their engines in one call."""

import logging
from collections.abc import Sequence

import numpy as np

from optagent.serving.engine import Engine, ServedModel
from optagent.serving.evidence_record import count_outputs
from optagent.serving.onnx_engine import OnnxEngine
from optagent.serving.onnx_fused import MOST_BYTES, FusedEngine

_log = logging.getLogger("optagent.serving")


class Fusion:
    """The fused engine of versions that read rows alike; `engine` is None until `make` has made it, or for ever.

    Only compiled engines are fused, two or more, whose graphs are not too large together.
    """

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self.engine: FusedEngine | None = None
        self.fuses: tuple[Engine, ...] = tuple(model.engine for model in models)
        self._models = tuple(models)

    @property
    def is_possible(self) -> bool:
        graphs = [engine.graph for engine in self.fuses if isinstance(engine, OnnxEngine) and engine.graph]
        alike = len({model.schema.columns for model in self._models}) == 1
        return alike and 1 < len(graphs) == len(self.fuses) and sum(map(len, graphs)) <= MOST_BYTES

    def make(self) -> None:
        """Makes the engine, which takes as long as loading all of the versions. Without it, each is asked alone."""
        schema = self._models[0].schema
        engines = [engine for engine in self.fuses if isinstance(engine, OnnxEngine)]
        graphs, most = [engine.graph for engine in engines], min(engine.rows_at_once for engine in engines)
        try:
            fused = FusedEngine(graphs, len(schema.columns), count_outputs(schema.task, schema.classes), most)
            self._check_answers(fused)
        except Exception:
            _log.exception("the versions of a mixture are asked one by one, since their graphs cannot be fused")
            return
        self.engine = fused

    def _check_answers(self, fused: FusedEngine) -> None:
        """Asks for a row of zeros and one of missing values, which all versions take."""
        x = np.zeros((2, len(self._models[0].schema.columns)), np.float32)
        x[1] = np.nan
        for engine, scores in zip(self.fuses, fused.scores_of_each(x), strict=True):
            np.testing.assert_array_equal(scores, engine.scores(x))
