"""Reasons: the columns of a row that moved a model's answer most, with the contribution of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from optagent.arrays import Matrix, Matrix64, Prediction, Vector
from optagent.domain.model import Task
from optagent.serving.attribution import make_attributor
from optagent.training.encoding import Schema

Reasons = dict[str, Any]
"""`of` (a class or the target), `unit`, `base`, `features` (of `feature` and `contribution` each), `others`, `sum`."""


class RowExplainer:
    """Names the features that moved answers most. It stores nothing of a call, so threads may share it.

    `cells` are the numbers that a row costs, some 5 nanoseconds each.
    """

    def __init__(self, schema: Schema, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Takes the arrays that `attribution_data` reads, and makes the tables; raises Conflict for a model without."""
        self._attributor = make_attributor(dict(arrays))
        self.cells = self._attributor.cells
        self.unit = str(arrays["unit"])
        self._schema, self.names = schema, schema.names

    def explain(self, x: Matrix, scores: Prediction, count: int) -> list[Reasons]:
        """The `count` largest contributions to each answer, whose `base`, contributions and `others` sum to `sum`.

        They are those to the class that is predicted, of two classes to the second one. Of equal ones, the feature that
        comes first in the schema wins.
        """
        outputs = scores.argmax(axis=1) if scores.ndim == 2 else np.zeros(len(x), dtype=np.intp)
        contributions = self._attributor.contributions(x)[np.arange(len(x)), outputs]
        bases = self._attributor.base[outputs]
        return name_reasons(self._schema, self.names, self.unit, (outputs, bases), contributions, count)

    def read_margins(self, x: Matrix) -> tuple[float, Matrix64]:
        """The base of the first output, and the (rows, columns) contributions to it."""
        return float(self._attributor.base[0]), self._attributor.contributions(x)[:, 0]


def name_reasons(
    schema: Schema,
    names: Sequence[str],
    unit: str,
    answered: tuple[npt.NDArray[np.intp], Vector],
    contributions: Matrix64,
    count: int,
) -> list[Reasons]:
    """The `count` largest contributions (rows, names) to the outputs that `answered`, (rows,) each with their bases."""
    first = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :count]
    outputs, bases = answered
    rows = zip(outputs.tolist(), bases.tolist(), contributions, first, strict=True)
    return [
        {"of": _name_output(schema, output), "unit": unit, **_list_features(names, base, row, places)}
        for output, base, row, places in rows
    ]


def _list_features(names: Sequence[str], base: float, contributions: Vector, places: npt.NDArray[np.intp]) -> Reasons:
    chosen, total = contributions[places], float(contributions.sum())
    return {
        "base": base,
        "features": [
            {"feature": names[place], "contribution": value}
            for place, value in zip(places.tolist(), chosen.tolist(), strict=True)
        ],
        "others": total - float(chosen.sum()),
        "sum": base + total,
    }


def _name_output(schema: Schema, output: int) -> Any:
    if schema.task is Task.REGRESSION:
        return schema.target
    return schema.classes[1 if schema.task is Task.BINARY else output]


def reasons_column(reasons: Sequence[Reasons]) -> pa.Array:
    """Reasons as a column of structs; classes are texts."""
    return pa.array([{**row, "of": str(row["of"])} for row in reasons], _COLUMN_TYPE)


_COLUMN_TYPE = pa.struct(
    {
        "of": pa.string(),
        "unit": pa.string(),
        "base": pa.float64(),
        "features": pa.list_(pa.struct({"feature": pa.string(), "contribution": pa.float64()})),
        "others": pa.float64(),
        "sum": pa.float64(),
    }
)
