"""Oblivious trees as ONNX: products of matrices find the cells of all category statistics, and the leaves of all trees.

ONNX Runtime's own operator for trees takes three times longer, since it walks them node by node.
"""

from collections.abc import Sequence

import numpy as np

from optagent.serving.category_statistics import Levels, Source, StatisticTable
from optagent.serving.oblivious_trees import ObliviousForest
from optagent.serving.onnx_columns import gather_columns
from optagent.serving.onnx_graph import Graph


def add_oblivious_forest(graph: Graph, forest: ObliviousForest, levels: Levels) -> str:
    """The scores of a forest for the graph's rows: all splits are asked once, and each tree's leaf is looked up."""
    columns = graph.add("Transpose", _add_statistics(graph, forest.tables, levels))
    values = graph.add("Gather", columns, graph.constant(forest.columns), axis=0)
    is_above = graph.cast(graph.add("Greater", values, graph.constant(forest.thresholds[:, None])), 32)
    bits = graph.add("Gather", is_above, graph.constant(forest.splits.ravel()), axis=0)
    deepest, trees = forest.splits.shape
    by_split = graph.add("Reshape", bits, graph.constant(np.array([deepest, -1])))
    numbers = graph.add("MatMul", graph.constant(2.0 ** np.arange(deepest, dtype=np.float32)), by_split)
    by_tree = graph.add("Reshape", graph.cast(numbers, 1), graph.constant(np.array([trees, -1])))
    leaves = graph.add("Add", by_tree, graph.constant(forest.first_leaf[:, None]))
    summed = graph.add(
        "ReduceSum",
        graph.add("Gather", graph.constant(forest.leaves), leaves, axis=0),
        graph.constant(np.array([0])),
        keepdims=0,
    )
    return graph.add_link(graph.add("Add", summed, graph.constant(forest.start)), forest.link)


def _add_statistics(graph: Graph, tables: Sequence[StatisticTable], levels: Levels) -> str:
    """The graph's rows with a column for each table behind them, in 32 bits."""
    if not tables:
        return graph.rows
    sources = sorted({source for table in tables for source in table.sources})
    codes = [source for source in sources if not source.borders]
    borders = sorted({(source.column, border) for source in sources for border in source.borders})
    parts = [_add_codes(graph, codes, levels), *([_add_sides(graph, borders)] if borders else [])]
    cases = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)
    strides, starts = _cell_strides(tables, codes, borders, levels)
    cells = graph.cast(graph.add("Add", graph.add("MatMul", cases, graph.constant(strides)), graph.constant(starts)), 1)
    ranks = graph.add("Gather", graph.constant(np.concatenate([table.ranks for table in tables])), cells, axis=0)
    return graph.add("Concat", graph.rows, graph.cast(ranks, 32), axis=1)


def _add_codes(graph: Graph, sources: Sequence[Source], levels: Levels) -> str:
    """The case of each code, in 64 bits: itself, or the last one where it is missing."""
    codes = gather_columns(graph, [source.column for source in sources])
    missing = graph.constant(np.array([levels[source.column] for source in sources], dtype=np.float32))
    return graph.cast(graph.add("Where", graph.add("IsNaN", codes), missing, codes), 64)


def _add_sides(graph: Graph, borders: Sequence[tuple[int, float]]) -> str:
    """1 where the number is above the border, otherwise 0, in 64 bits."""
    numbers = gather_columns(graph, [column for column, _ in borders])
    at = graph.constant(np.array([border for _, border in borders], dtype=np.float32))
    return graph.cast(graph.add("Greater", numbers, at), 64)


def _cell_strides(
    tables: Sequence[StatisticTable], codes: Sequence[Source], borders: Sequence[tuple[int, float]], levels: Levels
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """(cases, tables) the cells by which a case moves on in a table, and (tables,) the first cell of each."""
    place: dict[tuple[int, float | None], int] = {(source.column, None): at for at, source in enumerate(codes)}
    place |= {(column, border): at for at, (column, border) in enumerate(borders, len(codes))}
    strides = np.zeros((len(place), len(tables)))
    for number, table in enumerate(tables):
        stride = 1
        for source in reversed(table.sources):
            cases = [place[source.column, border] for border in source.borders] or [place[source.column, None]]
            strides[cases, number] = stride
            stride *= source.size(levels)
    sizes = [len(table.ranks) for table in tables]
    return strides, np.cumsum([0.0, *sizes[:-1]])
