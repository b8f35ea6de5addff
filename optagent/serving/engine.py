"""A version as it is served: rows by name in, labels and probabilities or values out."""

import math
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from optagent.arrays import Matrix, Prediction
from optagent.domain.model import Task
from optagent.serving.row_reader import MOST_ROWS, RowReader
from optagent.training.encoding import Schema
from optagent.training.families.feasible import finite
from optagent.training.predictor import PREDICTION

Answer = dict[str, Any]
"""`version`, `prediction` (a label or a value) and, for classifiers, `probabilities` by the text of the label."""


class Engine(Protocol):
    """What turns encoded rows into scores; called by several threads at once."""

    name: str
    blocks: bool
    """Whether a call may take long or never end, so that an event loop calls it in a thread."""

    def scores(self, x: Matrix) -> Prediction:
        """As `Predictor.scores`; raises InvalidData for a matrix of another width."""
        ...

    def close(self) -> None:
        """Lets go of what the engine holds; it answers no more."""
        ...


class ServedModel:
    """A version, its reader of rows and its engine. It keeps nothing of a call, so threads may share it.

    `reason` says why it has this engine.
    """

    def __init__(
        self,
        schema: Schema,
        engine: Engine,
        version: str,
        most_rows: int = MOST_ROWS,
        ignore_unknown: bool = False,
        reason: str = "",
    ) -> None:
        self.version = version
        self.engine = engine
        self.schema = schema
        self.reason = reason
        self.task = schema.task
        self.classes = schema.classes
        self.reader = RowReader(schema, most_rows, ignore_unknown)
        self.class_names = tuple(str(label) for label in schema.classes)

    def answer(self, rows: Any) -> list[Answer]:
        """An answer for each row of whatever the reader takes; raises InvalidData for a row that breaks a rule."""
        return self.answers(self.scores(self.reader.read(rows)))

    def scores(self, x: Matrix) -> Prediction:
        """The engine's scores; Infeasible where one is not a finite number, which no answer may hold."""
        found = self.engine.scores(x)
        # Of one row, the sum is the quicker check: what is not finite stays so.
        return found if math.isfinite(found.sum()) else finite(found)

    def answers(self, scores: Prediction) -> list[Answer]:
        """The answers that scores mean. Of equal probabilities the first class wins, and class 1 of two at one half."""
        version = self.version
        if self.task is Task.REGRESSION:
            return [{"version": version, PREDICTION: value} for value in scores.tolist()]
        labels, names = self.classes, self.class_names
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

    def answers_table(self, scores: Prediction, as_text: bool = False) -> pa.Table:
        """The same as a table: `prediction` and `probability_<label>`, as `Predictor.predict`; labels `as_text`."""
        if self.task is Task.REGRESSION:
            return pa.table({PREDICTION: scores})
        binary = self.task is Task.BINARY
        codes = (scores >= 0.5).astype(np.int64) if binary else scores.argmax(axis=1)
        by_class = np.column_stack([1.0 - scores, scores]) if binary else scores
        labels = pa.array(self.class_names, pa.large_string()) if as_text else pa.array(self.classes)
        columns = {PREDICTION: labels.take(pa.array(codes))}
        for name, values in zip(self.class_names, by_class.T, strict=True):
            columns[f"probability_{name}"] = pa.array(np.ascontiguousarray(values))
        return pa.table(columns)

    def close(self) -> None:
        """Lets go of the engine."""
        self.engine.close()
