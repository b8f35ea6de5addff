"""Live rows: features as they come in from outside, encoded as far as possible; problems are counted, never raised."""

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from optagent.arrays import Matrix
from optagent.domain.quality import RowProblem
from optagent.training.columns import Kind
from optagent.training.encoding import Schema
from optagent.training.live_answers import PROBABILITY
from optagent.training.live_values import column_named, read_column
from optagent.training.predictor import PREDICTION

Counts = Mapping[str, Mapping[RowProblem, int]]
"""Rows by column and problem; an extra column counts once, whatever its rows."""

BOOKKEEPING = frozenset({"id", "time", PREDICTION, "latency_ms", "version", "arm"})


def encode_live(table: pa.Table, schema: Schema) -> tuple[Matrix, Counts]:
    """The features as (rows, columns) float32, and the counts of rows that had a problem, by column.

    Clean rows are encoded as `encode` does, but a category that the schema does not know has the code
    `len(categories)`; it counts as unseen only where the schema has no `other` level. Values that cannot be read are
    NaN. Texts of numbers and of dates are read; a column that is absent is missing in every row.
    """
    x = np.full((table.num_rows, len(schema.columns)), np.nan, dtype=np.float32)
    counts: dict[str, Mapping[RowProblem, int]] = {}
    for index, column in enumerate(schema.columns):
        values = column_named(table, column.name)
        if values is None:
            problems = {RowProblem.ABSENT: table.num_rows}
        else:
            encoded = read_column(values, column)
            with np.errstate(over="ignore"):
                x[:, index] = encoded.numbers
            problems = {problem: int(mask.sum()) for problem, mask in encoded.problems.items()}
            infinite = np.isinf(x[:, index])
            problems[RowProblem.INFINITE] = problems.get(RowProblem.INFINITE, 0) + int(infinite.sum())
            x[infinite, index] = np.nan
        counts[column.name] = problems
    expected = {*schema.names, *BOOKKEEPING}
    for name in table.schema.names:
        if name not in expected and not name.startswith(PROBABILITY) and _has_value(table, name):
            counts[name] = {RowProblem.EXTRA: 1}
    return x, _without_zeros(counts)


def merge_counts(parts: Iterable[Counts]) -> Counts:
    """The counts of several tables as those of one."""
    total: dict[str, dict[RowProblem, int]] = {}
    for part in parts:
        for name, problems in part.items():
            merged = total.setdefault(name, {})
            for problem, count in problems.items():
                merged[problem] = 1 if problem is RowProblem.EXTRA else merged.get(problem, 0) + count
    return total


def model_matrix(x: Matrix, schema: Schema) -> Matrix:
    """The matrix that `encode` would give for these rows: NaN for a category that the schema does not know."""
    x = x.copy()
    for index, column in enumerate(schema.columns):
        if column.kind is Kind.CATEGORICAL and not column.other:
            x[x[:, index] == len(column.categories), index] = np.nan
    return x


def _has_value(table: pa.Table, name: str) -> bool:
    values = column_named(table, name)
    return values is not None and values.null_count < len(values)


def _without_zeros(counts: Counts) -> Counts:
    nonzero = {
        name: {problem: count for problem, count in problems.items() if count} for name, problems in counts.items()
    }
    return {name: problems for name, problems in nonzero.items() if problems}
