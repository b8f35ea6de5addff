"""ONNX engine: ONNX Runtime on one thread, which takes microseconds for one row."""

from optagent.arrays import Matrix, Prediction
from optagent.training.families.feasible import check_columns

INPUT, OUTPUT = "rows", "scores"
_OUTPUTS = [OUTPUT]


class OnnxEngine:
    """A session of ONNX Runtime; its `run` may be called by several threads at once."""

    name = "onnx"
    blocks = False

    def __init__(self, model: bytes, columns: int, outputs: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        # The inner session: its wrapper checks names that never change, which takes 4 us of 19 (measured).
        self._run = getattr(session, "_sess", session).run
        self._columns = columns
        self._flat = outputs == 1

    def scores(self, x: Matrix) -> Prediction:
        check_columns(x, self._columns)
        scores: Prediction = self._run(_OUTPUTS, {INPUT: x}, None)[0]
        return scores[:, 0] if self._flat else scores

    def close(self) -> None:
        pass
