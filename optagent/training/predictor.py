"""Predictor of a loaded bundle: from a table to labels and probabilities."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa

from optagent.arrays import Matrix, Prediction
from optagent.domain.model import Task
from optagent.errors import InvalidData
from optagent.training.encoding import Schema, encode
from optagent.training.families.family import FittedModel
from optagent.training.manifest import Manifest

if TYPE_CHECKING:
    import pandas as pd

PREDICTION = "prediction"
Table = TypeVar("Table", pa.Table, "pd.DataFrame")


class Predictor:
    """A loaded model with its schema; its description is in `manifest`."""

    def __init__(self, manifest: Manifest, schema: Schema, model: FittedModel) -> None:
        self.manifest = manifest
        self.schema = schema
        self.model = model

    def scores(self, x: Matrix) -> Prediction:
        """The model's raw prediction for encoded rows: see `Prediction`."""
        return self.model.predict(x)

    def probabilities(self, table: pa.Table) -> Prediction:
        """The model's raw prediction for the rows of a table; values for a regression."""
        return self.scores(encode(table, self.schema))

    def predict(self, table: Table) -> Table:
        """The same kind of table with `prediction` (a label or a value) and, for classifiers, `probability_<label>`.

        The label is the most probable one: the first of several equally probable ones, but class 1 of a binary model at
        one half. A data frame keeps its index.
        """
        if isinstance(table, pa.Table):
            return self._answer(table)
        answer = self._answer(_arrow(table, self.schema.names)).to_pandas()
        answer.index = table.index
        return answer

    def _answer(self, table: pa.Table) -> pa.Table:
        scores = self.probabilities(table)
        if self.manifest.task is Task.REGRESSION:
            return pa.table({PREDICTION: scores})
        if self.manifest.task is Task.BINARY:
            codes = (scores >= 0.5).astype(np.int64)
            probabilities = np.column_stack([1.0 - scores, scores])
        else:
            codes = scores.argmax(axis=1)
            probabilities = scores
        columns = {PREDICTION: pa.array(self.manifest.classes).take(pa.array(codes))}
        for position, label in enumerate(self.manifest.classes):
            columns[f"probability_{label}"] = pa.array(np.ascontiguousarray(probabilities[:, position]))
        return pa.table(columns)


def _arrow(frame: "pd.DataFrame", names: tuple[str, ...]) -> pa.Table:
    """The columns that the model reads; others, of whatever type, do not matter."""
    columns = frame[[name for name in names if name in frame.columns]]
    try:
        return pa.Table.from_pandas(columns, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InvalidData(f"rows to predict: {error}") from None
