"""Oblivious trees as ONNX: all category statistics are looked up at once, and then the leaves of all trees.

ONNX Runtime's own operator for trees is slower, since it walks them node by node, a row after the other.
"""

from collections.abc import Sequence

import numpy as np

from optagent.arrays import Vector
from optagent.serving.category_statistics import Levels, Source, StatisticTable, find_strides, list_cases
from optagent.serving.oblivious_trees import ObliviousForest
from optagent.serving.onnx_graph import Graph

_BITS_AT_ONCE = 1_000_000
"""Answers to splits, of 4 bytes each: they stay in the cache, which halves the time of many rows (measured)."""


def add_oblivious_forest(graph: Graph, forest: ObliviousForest, levels: Levels) -> str:
    """The scores of a forest for the graph's rows: all splits are asked once, and each tree's leaf is looked up."""
    columns = _add_columns(graph, forest.tables, levels)
    values = graph.add("Gather", columns, graph.constant(forest.columns), axis=0)
    is_above = graph.cast(graph.add("Greater", values, graph.constant(forest.thresholds[:, None])), 32)
    bits = graph.add("Gather", is_above, graph.constant(forest.splits.ravel()), axis=0)
    deepest, trees = forest.splits.shape
    graph.limit_rows(max(1, _BITS_AT_ONCE // forest.splits.size))
    numbers = graph.cast(_sum_parts(graph, bits, np.exp2(np.arange(deepest)), trees), 1)
    leaves = graph.add("Add", numbers, graph.constant(forest.first_leaf[:, None]))
    values = graph.add("Gather", graph.constant(forest.leaves), leaves, axis=0)
    summed = graph.add("ReduceSum", values, graph.constant(np.array([0])), keepdims=0)
    return graph.add_link(graph.add("Add", summed, graph.constant(forest.start)), forest.link)


def _add_columns(graph: Graph, tables: Sequence[StatisticTable], levels: Levels) -> str:
    """(columns and tables, rows) the graph's rows and the ranks of each table, in 32 bits, in which cells are exact."""
    columns = graph.add("Transpose", graph.rows)
    if not tables:
        return columns
    codes, borders = list_cases(tables)
    parts = [_add_codes(graph, columns, codes, levels), *([_add_sides(graph, columns, borders)] if borders else [])]
    cases = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=0)
    places, strides = find_strides(tables, levels)
    moves = graph.add("Gather", cases, graph.constant(places.ravel()), axis=0)
    moves = graph.add("Mul", moves, graph.constant(strides.reshape(-1, 1)))
    cells = _sum_parts(graph, moves, np.ones(len(strides)), len(tables))
    starts = np.cumsum([0, *(len(table.ranks) for table in tables[:-1])])
    cells = graph.add("Add", graph.cast(cells, 1), graph.constant(starts[:, None]))
    ranks = graph.add("Gather", graph.constant(np.concatenate([table.ranks for table in tables])), cells, axis=0)
    return graph.add("Concat", columns, graph.cast(ranks, 32), axis=0)


def _add_codes(graph: Graph, columns: str, sources: Sequence[Source], levels: Levels) -> str:
    """(sources, rows) the case of each code: itself, or the last one where it is missing."""
    codes = graph.add("Gather", columns, graph.constant(np.array([source.column for source in sources])), axis=0)
    missing = np.array([[levels[source.column]] for source in sources], dtype=np.float32)
    return graph.add("Where", graph.add("IsNaN", codes), graph.constant(missing), codes)


def _add_sides(graph: Graph, columns: str, borders: Sequence[tuple[int, float]]) -> str:
    """(borders, rows) 1 where the number is above the border, otherwise 0."""
    numbers = graph.add("Gather", columns, graph.constant(np.array([column for column, _ in borders])), axis=0)
    at = np.array([[border] for _, border in borders], dtype=np.float32)
    return graph.cast(graph.add("Greater", numbers, graph.constant(at)), 32)


def _sum_parts(graph: Graph, values: str, weights: Vector, count: int) -> str:
    """(count, rows) the weighted sum of the parts of (parts * count, rows)."""
    by_part = graph.add("Reshape", values, graph.constant(np.array([len(weights), -1])))
    summed = graph.add("MatMul", graph.constant(weights.astype(np.float32)), by_part)
    return graph.add("Reshape", summed, graph.constant(np.array([count, -1])))
