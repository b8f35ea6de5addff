"""What scikit-learn families do to columns before they learn, as ONNX: numbers filled and scaled, levels looked up."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.errors import InvalidRequest
from optagent.serving.onnx_graph import Graph
from optagent.training.families.sklearn_columns import by_column

Levels = Sequence[int]
"""For each of our columns the number of its levels; 0 for numbers."""


def add_tree_columns(graph: Graph, columns: Any, levels: Levels) -> tuple[str, npt.NDArray[np.int64]]:
    """The columns that a forest sees, and where each of the ColumnTransformer's columns is among them."""
    numbers = _sources(columns, "number")
    tables = _tables(columns, levels)
    parts = [picked(graph, numbers)] if numbers else []
    order = _positions(columns, "number")
    for source, (positions, table) in tables.items():
        order += positions
        parts.append(looked_up(graph, source, table))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1), place


def add_margin(graph: Graph, columns: Any, weights: Vector, intercept: Vector, levels: Levels) -> str:
    """The sum of what each column adds to each output; `weights` are (the transformer's columns, outputs)."""
    parts = [graph.constant(intercept[None, :])]
    numbers = _sources(columns, "number")
    if numbers:
        parts += _number_parts(graph, columns, numbers, weights)
    for source, (positions, table) in _tables(columns, levels).items():
        parts.append(looked_up(graph, source, table.astype(np.float64) @ weights[positions]))
    total = parts[0]
    for part in parts[1:]:
        total = graph.add("Add", total, part)
    return total


def _number_parts(graph: Graph, columns: Any, numbers: list[int], weights: Vector) -> list[str]:
    """scikit-learn fills and scales 32-bit numbers in 32 bits; so does this."""
    steps = columns.named_transformers_["number"].named_steps
    if type(steps["scale"]).__name__ != "StandardScaler":
        raise InvalidRequest(f"{type(steps['scale']).__name__}: ONNX has no operator for it")
    chosen = picked(graph, numbers)
    missing = graph.add("IsNaN", chosen)
    filled = graph.add("Where", missing, graph.constant(steps["impute"].statistics_.astype(np.float32)), chosen)
    centred = graph.add("Sub", filled, graph.constant(steps["scale"].mean_.astype(np.float32)))
    scaled = graph.add("Div", centred, graph.constant(steps["scale"].scale_.astype(np.float32)))
    own = weights[_positions(columns, "number")]
    told = weights[_positions(columns, "missing")]
    return [
        graph.add("MatMul", graph.cast(scaled, 64), graph.constant(own)),
        graph.add("MatMul", graph.cast(missing, 64), graph.constant(told)),
    ]


def picked(graph: Graph, numbers: list[int]) -> str:
    """Some columns of the rows, in this order."""
    return graph.add("Gather", graph.rows, graph.constant(np.array(numbers, dtype=np.int64)), axis=1)


def looked_up(graph: Graph, source: int, table: npt.NDArray[Any]) -> str:
    """The row of `table` for the code of each row; the last one is for missing values."""
    code = graph.add("Gather", graph.rows, graph.constant(np.int64(source)), axis=1)
    missing = graph.constant(np.float32(len(table) - 1))
    whole = graph.cast(graph.add("Where", graph.add("IsNaN", code), missing, code), 1)
    return graph.add("Gather", graph.constant(table), whole, axis=0)


def _tables(columns: Any, levels: Levels) -> dict[int, tuple[list[int], npt.NDArray[np.float32]]]:
    """By categorical column: the transformer's columns that stem from it, and their numbers for each code and NaN.

    The transformer itself is asked, so whatever it does to a level is what is looked up.
    """
    widths = columns.output_indices_
    width = max((span.stop for span in widths.values()), default=0)
    found = {}
    for source in [*_sources(columns, "onehot"), *_sources(columns, "target")]:
        probe = np.zeros((levels[source] + 1, columns.n_features_in_), dtype=np.float32)
        probe[:, source] = [*range(levels[source]), np.nan]
        positions = [at for at in range(width) if by_column(columns, _unit(width, at))[source]]
        found[source] = (positions, np.asarray(columns.transform(probe))[:, positions].astype(np.float32))
    return found


def _unit(width: int, at: int) -> Vector:
    vector = np.zeros(width)
    vector[at] = 1.0
    return vector


def _sources(columns: Any, step: str) -> list[int]:
    return next((list(sources) for name, _, sources in columns.transformers_ if name == step), [])


def _positions(columns: Any, step: str) -> list[int]:
    span = columns.output_indices_.get(step, slice(0, 0))
    return list(range(span.start, span.stop))
