"""Tree arrays: the nodes of a forest's trees, one after the other, as plain arrays that can be sent and stored."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from optagent.arrays import Mask, Vector
from optagent.errors import Conflict, InvalidData
from optagent.serving.trees import Forest

Indexes = npt.NDArray[np.intp]

MOST_NODES = 2_000_000
"""Of a forest, counting a copy for each class: with its tables a node takes some 300 bytes."""
BLOCK_NODES = 20_000
"""Of the trees that are walked together: their tables stay in a processor's cache, and few calls are made."""
NO_COVERS = "its trees do not tell how many training rows came to each node, so they give no reasons"


class TreeArrays(NamedTuple):
    """Nodes of several trees, one after the other; `left` and `right` are negative at leaves.

    `source` is the column of the row that is read, `player` the column of the model, which may be one of several that
    are made of one source. `members` has a row for each node that splits by codes, in their order, with a last column
    for codes that it does not know; `threshold` is NaN there.
    """

    roots: Indexes
    player: Indexes
    source: Indexes
    threshold: Vector
    left: Indexes
    right: Indexes
    missing_left: Mask
    value: Vector
    cover: Vector
    output: Indexes
    members: Mask


def forest_arrays(forest: Forest, columns: int, sources: Indexes | None = None) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a forest on rows of so many columns; raises Conflict for one without covers, or of too many nodes.

    `sources` are the columns of the rows that its own columns are made of, by default the same ones.
    """
    trees, sizes = forest.trees, [len(tree.column) for tree in forest.trees]
    if sum(sizes) > MOST_NODES:
        raise Conflict(f"a forest of {sum(sizes):,} nodes gives no reasons, the limit is {MOST_NODES:,}")
    if any(len(tree.cover) != size for tree, size in zip(trees, sizes, strict=True)):
        raise Conflict(NO_COVERS)
    starts = np.cumsum([0, *sizes[:-1]], dtype=np.intp)
    player = np.maximum(np.concatenate([tree.column for tree in trees]), 0).astype(np.intp)
    threshold = np.concatenate([tree.threshold for tree in trees]).astype(np.float64)
    if forest.strict:  # below a 32-bit number is at most the one before it
        threshold = np.nextafter(threshold.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
    coded, members = _category_sets(forest, starts)
    threshold[coded] = np.nan
    return {
        "columns": np.array(columns),
        "outputs": np.array(forest.outputs),
        "mean_of": np.array(forest.mean_of),
        "start": np.array(forest.start or np.zeros(forest.outputs), dtype=np.float64),
        "roots": starts,
        "player": player,
        "source": player if sources is None else sources[player].astype(np.intp),
        "threshold": threshold,
        "left": _number_children([tree.left for tree in trees], starts),
        "right": _number_children([tree.right for tree in trees], starts),
        "missing_left": np.concatenate([tree.missing_left for tree in trees]).astype(np.bool_),
        "value": np.concatenate([tree.value for tree in trees]).astype(np.float64),
        "cover": np.concatenate([tree.cover for tree in trees]).astype(np.float64),
        "output": np.repeat([tree.output for tree in trees], sizes).astype(np.intp),
        "members": members,
    }


def _category_sets(forest: Forest, starts: Indexes) -> tuple[Indexes, Mask]:
    """The nodes that split by codes, in their order, and the row of `TreeArrays.members` of each."""
    sets = {
        int(start) + node: np.asarray(codes, dtype=np.intp)
        for start, tree in zip(starts, forest.trees, strict=True)
        for node, codes in sorted(tree.members.items())
    }
    most = max((int(codes.max(initial=-1)) for codes in sets.values()), default=-1)
    members = np.zeros((len(sets), most + 2), dtype=np.bool_)
    for row, codes in zip(members, sets.values(), strict=True):
        row[codes] = True
    return np.array(list(sets), dtype=np.intp), members


def _number_children(children: list[npt.NDArray[np.int64]], starts: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The numbers of children among the nodes of all trees, -1 at leaves."""
    parts = [np.where(nodes >= 0, nodes + start, -1) for nodes, start in zip(children, starts, strict=True)]
    return np.concatenate(parts).astype(np.intp)


def split_trees(trees: TreeArrays) -> Sequence[TreeArrays]:
    """Blocks of whole trees of some `BLOCK_NODES` nodes."""
    ends = np.append(trees.roots[1:], len(trees.left))
    blocks = np.unique((ends - 1) // BLOCK_NODES, return_index=True)[1]
    by_code = np.concatenate([[0], np.cumsum(np.isnan(trees.threshold))])
    parts = []
    for first, last in zip(blocks, [*blocks[1:], len(trees.roots)], strict=True):
        begin, end = int(trees.roots[first]), int(ends[last - 1])
        nodes = {
            name: getattr(trees, name)[begin:end] for name in TreeArrays._fields if name not in ("roots", "members")
        }
        children = {side: np.where(nodes[side] >= 0, nodes[side] - begin, -1) for side in ("left", "right")}
        members = trees.members[by_code[begin] : by_code[end]]
        parts.append(TreeArrays(**{**nodes, **children}, roots=trees.roots[first:last] - begin, members=members))
    return parts


def find_levels(trees: TreeArrays) -> list[Indexes]:
    """The nodes by level, inner ones before leaves; raises InvalidData for what is no tree, so that this ends."""
    left, count = trees.left, len(trees.roots)
    levels = [_put_leaves_last(trees.roots, left)]
    while len(inner := levels[-1][left[levels[-1]] >= 0]):
        levels.append(_put_leaves_last(np.concatenate([left[inner], trees.right[inner]]), left))
        count += 2 * len(inner)
        if count > len(left):
            raise InvalidData("the nodes of the model's trees are no trees: one is the child of two")
    return levels


def _put_leaves_last(nodes: Indexes, left: Indexes) -> Indexes:
    return nodes[np.argsort(left[nodes] < 0, kind="stable")]
