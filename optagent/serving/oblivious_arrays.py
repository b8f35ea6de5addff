"""Arrays of an oblivious forest for its attribution: its trees node by node, and the statistics that they split.

Columns whose categories one statistic counts together are one player; what it contributes is shared equally among them,
and nothing of it falls to the numbers on whose sides it depends: so CatBoost's own SHAP values have it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.serving.category_statistics import Levels, StatisticTable, find_strides, list_cases
from optagent.serving.oblivious_trees import ObliviousForest
from optagent.serving.tree_arrays import forest_arrays
from optagent.serving.trees import Forest, Tree

Arrays = dict[str, npt.NDArray[Any]]

_EMPTY = 1e-200  # the weight of a leaf without rows: nothing is divided by 0, and no sum is moved by it


def oblivious_arrays(forest: ObliviousForest, leaf_weights: Sequence[Sequence[float]], levels: Levels) -> Arrays:
    """The arrays of `attribution_oblivious.ObliviousAttributor`; `leaf_weights` are those of each tree.

    Raises Conflict for a forest of too many nodes.
    """
    outputs = forest.leaves.shape[1]
    trees = tuple(
        _read_tree(forest, number, np.array(weights), output)
        for number, weights in enumerate(leaf_weights)
        for output in range(outputs)
    )
    plain = Forest(trees, outputs, forest.link, tuple(forest.start.tolist()))
    arrays = forest_arrays(plain, len(levels) + len(forest.tables))
    groups: list[tuple[int, ...]] = [*((column,) for column in range(len(levels)))]
    groups += [table.owners for table in forest.tables]
    players = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    shares = np.zeros((len(groups), len(levels)))
    for share, group in zip(shares, groups, strict=True):
        share[list(group)] = 1 / len(group)
    arrays["player"] = np.array([players[group] for group in groups], dtype=np.intp)[arrays["source"]]
    return {**arrays, "shares": shares, **_table_arrays(forest.tables, levels)}


def _read_tree(forest: ObliviousForest, number: int, weights: Vector, output: int) -> Tree:
    """A complete tree whose root asks the highest bit of the leaves' numbers: so its leaves are in their order."""
    depth = len(weights).bit_length() - 1
    asked = forest.splits[:depth, number][::-1]
    inner, leaves = 2**depth - 1, 2**depth
    by_node = np.repeat(asked, 2 ** np.arange(depth))
    covers = [np.maximum(weights.astype(np.float64), _EMPTY)]
    for _ in range(depth):
        covers.insert(0, covers[0].reshape(-1, 2).sum(axis=1))
    first = int(forest.first_leaf[number])
    no_child = np.full(leaves, -1)
    return Tree(
        column=np.concatenate([forest.columns[by_node], np.zeros(leaves, np.int64)]),
        threshold=np.concatenate([forest.thresholds[by_node].astype(np.float64), np.zeros(leaves)]),
        left=np.concatenate([2 * np.arange(inner) + 1, no_child]),
        right=np.concatenate([2 * np.arange(inner) + 2, no_child]),
        missing_left=np.arange(inner + leaves) < inner,
        value=np.concatenate([np.zeros(inner), forest.leaves[first : first + leaves, output]]),
        output=output,
        cover=np.concatenate(covers),
    )


def _table_arrays(tables: Sequence[StatisticTable], levels: Levels) -> Arrays:
    """The ranks of the tables, and the codes of columns and sides of borders that they are looked up by."""
    if not tables:
        return {}
    codes, borders = list_cases(tables)
    places, strides = find_strides(tables, levels)
    return {
        "code_columns": np.array([source.column for source in codes], dtype=np.intp),
        "code_missing": np.array([levels[source.column] for source in codes], dtype=np.float32),
        "border_columns": np.array([column for column, _ in borders], dtype=np.intp),
        "border_values": np.array([border for _, border in borders], dtype=np.float32),
        "case_places": places.astype(np.intp),
        "case_strides": strides.astype(np.intp),
        "table_starts": np.cumsum([0, *(len(table.ranks) for table in tables[:-1])]).astype(np.intp),
        "ranks": np.concatenate([table.ranks for table in tables]),
    }
