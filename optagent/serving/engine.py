"""A version as it is served: rows by name in, labels and probabilities or values out."""

from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from optagent.domain.model import Task
from optagent.serving.row_reader import MOST_ROWS, RowReader
from optagent.training.families.family import Prediction
from optagent.training.families.feasible import finite
from optagent.training.predictor import PREDICTION, Predictor
from optagent.training.problem import Matrix

Answer = dict[str, Any]
"""`version`, `prediction` (a label or a value) and, for classifiers, `probabilities` by the text of the label."""


class Engine(Protocol):
    """What turns encoded rows into scores; called by several threads at once."""

    name: str

    def scores(self, x: Matrix) -> Prediction:
        """As `Predictor.scores`; raises InvalidData for a matrix of another width."""
        ...


class ServedModel:
    """A version, its reader of rows and its engine. It keeps nothing of a call, so threads may share it."""

    def __init__(
        self,
        predictor: Predictor,
        engine: Engine,
        version: str,
        most_rows: int = MOST_ROWS,
        ignore_unknown: bool = False,
    ) -> None:
        self.version = version
        self.engine = engine
        self.task = predictor.manifest.task
        self.classes = predictor.manifest.classes
        self.reader = RowReader(predictor.schema, most_rows, ignore_unknown)
        self._names = tuple(str(label) for label in self.classes)

    def answer(self, rows: Any) -> list[Answer]:
        """An answer for each row of whatever the reader takes; raises InvalidData for a row that breaks a rule."""
        return self.answers(self.scores(self.reader.read(rows)))

    def answer_table(self, rows: pa.Table | pa.RecordBatch) -> pa.Table:
        """The answers to an Arrow table as one: `prediction` and `probability_<label>`, as `Predictor.predict`."""
        scores = self.scores(self.reader.read_table(rows))
        if self.task is Task.REGRESSION:
            return pa.table({PREDICTION: scores})
        binary = self.task is Task.BINARY
        codes = (scores >= 0.5).astype(np.int64) if binary else scores.argmax(axis=1)
        by_class = np.column_stack([1.0 - scores, scores]) if binary else scores
        columns = {PREDICTION: pa.array(self.classes).take(pa.array(codes))}
        for name, values in zip(self._names, by_class.T, strict=True):
            columns[f"probability_{name}"] = pa.array(np.ascontiguousarray(values))
        return pa.table(columns)

    def scores(self, x: Matrix) -> Prediction:
        """The engine's scores; Infeasible where one is not a finite number, which no answer may hold."""
        return finite(self.engine.scores(x))

    def answers(self, scores: Prediction) -> list[Answer]:
        """The answers that scores mean. Of equal probabilities the first class wins, and class 1 of two at one half."""
        version = self.version
        if self.task is Task.REGRESSION:
            return [{"version": version, PREDICTION: value} for value in scores.tolist()]
        labels, names = self.classes, self._names
        if self.task is Task.BINARY:
            no, yes = names
            return [
                {"version": version, PREDICTION: labels[share >= 0.5], "probabilities": {no: 1.0 - share, yes: share}}
                for share in scores.tolist()
            ]
        return [
            {"version": version, PREDICTION: labels[code], "probabilities": dict(zip(names, row, strict=True))}
            for code, row in zip(scores.argmax(axis=1).tolist(), scores.tolist(), strict=True)
        ]
