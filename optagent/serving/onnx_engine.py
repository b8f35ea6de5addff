"""ONNX engine: ONNX Runtime on one thread, which takes microseconds for one row."""

from collections.abc import Callable
from typing import Any

from optagent.arrays import Matrix, Prediction
from optagent.training.families.feasible import check_columns

INPUT, OUTPUT = "rows", "scores"
_OUTPUTS = [OUTPUT]
_MOST_KEPT = 8_000_000  # bytes, of some 400,000 nodes and leaves of trees: the session has its own copy


class OnnxEngine:
    """A session of ONNX Runtime; its `run` may be called by several threads at once.

    `graph` is the serialized model, empty for one that is too large to be kept.
    """

    name = "onnx"
    blocks = False

    def __init__(self, model: bytes, columns: int, outputs: int) -> None:
        self.graph = model if len(model) <= _MOST_KEPT else b""
        self._run = start_session(model)
        self._columns = columns
        self._flat = outputs == 1

    def scores(self, x: Matrix) -> Prediction:
        check_columns(x, self._columns)
        scores: Prediction = self._run(_OUTPUTS, {INPUT: x}, None)[0]
        return scores[:, 0] if self._flat else scores

    def close(self) -> None:
        pass


def start_session(model: bytes) -> Callable[..., Any]:
    """The `run` of a session on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # The inner session: its wrapper checks names that never change, which takes 4 us of 19 (measured).
    run: Callable[..., Any] = getattr(session, "_sess", session).run
    return run
