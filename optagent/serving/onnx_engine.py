"""ONNX engine: ONNX Runtime on one thread, which takes microseconds for one row."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from optagent.arrays import Matrix, Prediction
from optagent.training.families.feasible import check_columns

INPUT, OUTPUT = "rows", "scores"
ANY_NUMBER = 2**62
_OUTPUTS = [OUTPUT]
_MOST_KEPT = 8_000_000  # bytes, of some 400,000 nodes and leaves of trees: the session has its own copy


class OnnxSession(NamedTuple):
    """The `run` of a session on one thread, and the rows that it takes at once.

    A graph that needs much memory for a row has that number as its description.
    """

    run: Callable[..., Any]
    rows_at_once: int

    def scores(self, names: Sequence[str], x: Matrix) -> list[Prediction]:
        """The outputs of these names for any number of rows."""
        most = self.rows_at_once
        if len(x) <= most:
            outputs: list[Prediction] = self.run(names, {INPUT: x}, None)
            return outputs
        blocks = [self.run(names, {INPUT: x[start : start + most]}, None) for start in range(0, len(x), most)]
        return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


class OnnxEngine:
    """A session of ONNX Runtime; it may be called by several threads at once.

    `graph` is the serialized model, empty for one that is too large to be kept.
    """

    name = "onnx"
    blocks = False

    def __init__(self, model: bytes, columns: int, outputs: int) -> None:
        self.graph = model if len(model) <= _MOST_KEPT else b""
        self._session = start_session(model)
        self._columns = columns
        self._flat = outputs == 1

    def scores(self, x: Matrix) -> Prediction:
        check_columns(x, self._columns)
        scores = self._session.scores(_OUTPUTS, x)[0]
        return scores[:, 0] if self._flat else scores

    @property
    def rows_at_once(self) -> int:
        return self._session.rows_at_once

    def close(self) -> None:
        pass


def start_session(model: bytes) -> OnnxSession:
    """A session of a serialized model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rows_at_once = session.get_modelmeta().graph_description
    # The inner session: its wrapper checks names that never change, which takes 4 us of 19 (measured).
    return OnnxSession(getattr(session, "_sess", session).run, int(rows_at_once) if rows_at_once else ANY_NUMBER)
