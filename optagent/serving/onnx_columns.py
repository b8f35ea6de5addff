"""Column preprocessing of scikit-learn families as ONNX: numbers filled and scaled, levels of categories looked up."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.errors import InvalidRequest
from optagent.serving.onnx_graph import Graph
from optagent.training.families.sklearn_columns import sum_by_column

Levels = Sequence[int]
"""The number of levels of each encoded column; 0 for numbers."""


def add_tree_columns(graph: Graph, columns: Any, levels: Levels) -> tuple[str, npt.NDArray[np.int64]]:
    """The columns that a forest is fitted on, and the position of each of the transformer's columns among them."""
    numbers = step_columns(columns, "number")
    tables = category_tables(columns, levels)
    parts = [gather_columns(graph, numbers)] if numbers else []
    order = output_positions(columns, "number")
    for source, (positions, table) in tables.items():
        order += positions
        parts.append(look_up_codes(graph, source, table))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1), place


def add_margin(graph: Graph, columns: Any, weights: Vector, intercept: Vector, levels: Levels) -> str:
    """The sum of the columns' contributions to each output; `weights` are (the transformer's columns, outputs)."""
    parts = [graph.constant(intercept[None, :])]
    numbers = step_columns(columns, "number")
    if numbers:
        parts += _number_parts(graph, columns, numbers, weights)
    for source, (positions, table) in category_tables(columns, levels).items():
        parts.append(look_up_codes(graph, source, table.astype(np.float64) @ weights[positions]))
    total = parts[0]
    for part in parts[1:]:
        total = graph.add("Add", total, part)
    return total


def _number_parts(graph: Graph, columns: Any, numbers: list[int], weights: Vector) -> list[str]:
    """The contributions of numbers, filled and scaled in 32 bits as scikit-learn does with 32-bit numbers."""
    steps = columns.named_transformers_["number"].named_steps
    if type(steps["scale"]).__name__ != "StandardScaler":
        raise InvalidRequest(f"{type(steps['scale']).__name__}: ONNX has no operator for it")
    values = gather_columns(graph, numbers)
    missing = graph.add("IsNaN", values)
    filled = graph.add("Where", missing, graph.constant(steps["impute"].statistics_.astype(np.float32)), values)
    centred = graph.add("Sub", filled, graph.constant(steps["scale"].mean_.astype(np.float32)))
    scaled = graph.add("Div", centred, graph.constant(steps["scale"].scale_.astype(np.float32)))
    value_weights = weights[output_positions(columns, "number")]
    missing_weights = weights[output_positions(columns, "missing")]
    return [
        graph.add("MatMul", graph.cast(scaled, 64), graph.constant(value_weights)),
        graph.add("MatMul", graph.cast(missing, 64), graph.constant(missing_weights)),
    ]


def gather_columns(graph: Graph, numbers: list[int]) -> str:
    """The columns of these numbers, in this order."""
    return graph.add("Gather", graph.rows, graph.constant(np.array(numbers, dtype=np.int64)), axis=1)


def look_up_codes(graph: Graph, source: int, table: npt.NDArray[Any]) -> str:
    """The row of `table` for the code of each row; the last row of the table is for missing values."""
    return look_up(graph, graph.add("Gather", graph.rows, graph.constant(np.int64(source)), axis=1), table)


def look_up(graph: Graph, code: str, table: npt.NDArray[Any]) -> str:
    """The row of `table` for each of the codes (rows,); the last row of the table is for missing ones."""
    missing = graph.constant(np.float32(len(table) - 1))
    whole = graph.cast(graph.add("Where", graph.add("IsNaN", code), missing, code), 1)
    return graph.add("Gather", graph.constant(table), whole, axis=0)


def category_tables(columns: Any, levels: Levels) -> dict[int, tuple[list[int], npt.NDArray[np.float32]]]:
    """By categorical column: the transformer's columns that are made from it, and their numbers for each code and NaN.

    The numbers come from the transformer itself, so the lookup agrees with it on every level.
    """
    widths = columns.output_indices_
    width = max((span.stop for span in widths.values()), default=0)
    tables = {}
    for source in [*step_columns(columns, "onehot"), *step_columns(columns, "target")]:
        probe = np.zeros((levels[source] + 1, columns.n_features_in_), dtype=np.float32)
        probe[:, source] = [*range(levels[source]), np.nan]
        positions = [at for at in range(width) if sum_by_column(columns, _unit_vector(width, at))[source]]
        tables[source] = (positions, np.asarray(columns.transform(probe))[:, positions].astype(np.float32))
    return tables


def _unit_vector(width: int, at: int) -> Vector:
    vector = np.zeros(width)
    vector[at] = 1.0
    return vector


def step_columns(columns: Any, step: str) -> list[int]:
    return next((list(sources) for name, _, sources in columns.transformers_ if name == step), [])


def output_positions(columns: Any, step: str) -> list[int]:
    span = columns.output_indices_.get(step, slice(0, 0))
    return list(range(span.start, span.stop))
