"""Served model: rows by name in, labels with probabilities or values out."""

import math
from collections.abc import Callable
from copy import copy
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from optagent.arrays import Matrix, Prediction
from optagent.domain.model import Task
from optagent.serving.reasons import RowExplainer
from optagent.serving.row_reader import MOST_ROWS, RowReader
from optagent.training.encoding import Schema
from optagent.training.families.feasible import finite
from optagent.training.predictor import PREDICTION

Answer = dict[str, Any]
"""`version`, `prediction` (a label or a value) and, for classifiers, `probabilities` by the text of the label."""


class Engine(Protocol):
    """Scores encoded rows; called by several threads at once."""

    name: str
    blocks: bool
    """True where a call may take long or never end, so that an event loop calls it in a thread."""

    def scores(self, x: Matrix) -> Prediction:
        """As `Predictor.scores`; raises InvalidData for a matrix of another width."""
        ...

    def close(self) -> None:
        """Releases the resources of the engine, which answers no more."""
        ...


class ServedModel:
    """A version with its row reader and its engine. It stores nothing of a call, so threads may share it.

    `reason` says why this engine was chosen. `load_explainer` makes, within seconds, what tells the reasons of answers:
    a loader sets it. It raises Conflict for a version that gives none.
    """

    load_explainer: Callable[[], RowExplainer] | None = None

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
        """An answer for each row, in any form that the reader takes; raises InvalidData where one breaks a rule."""
        return self.format_answers(self.scores(self.reader.read(rows)))

    def scores(self, x: Matrix) -> Prediction:
        """The engine's scores; raises Infeasible where one is not a finite number, which no answer may contain."""
        scores = self.engine.scores(x)
        # For one row the sum is the quicker check: a value that is not finite makes the sum not finite either.
        return scores if math.isfinite(scores.sum()) else finite(scores)

    def format_answers(self, scores: Prediction) -> list[Answer]:
        """The answers for scores. Of equally probable classes the first wins; of two classes, class 1 at one half."""
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

    def format_table(self, scores: Prediction, as_text: bool = False) -> pa.Table:
        """The answers as a table: `prediction` and `probability_<label>`, as `Predictor.predict`; labels `as_text`."""
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

    def copy_as(self, version: str) -> "ServedModel":
        """The same model under the name of another version; both share the engine."""
        model = copy(self)
        model.version = version
        return model

    def close(self) -> None:
        """Closes the engine."""
        self.engine.close()
