"""Decision trees as plain arrays: the form that the trees of every library are read into before they are compiled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector

Nodes = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]


class LinkFunction(StrEnum):
    """The function from the sum of the trees to the answer."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree, its root at node 0; all arrays are (nodes,).

    A row goes left where its value is at most `threshold` (below it in a strict forest), where the node is among
    `members` and the value is one of its codes, or where the value is missing and `missing_left` says so. `left` and
    `right` are negative at a leaf, whose `value` is added to output number `output`. `cover` is the number (or the
    weight) of the training rows that came to each node, empty where it is not known.
    """

    column: Nodes
    threshold: Vector
    left: Nodes
    right: Nodes
    missing_left: Truths
    value: Vector
    output: int = 0
    members: Mapping[int, npt.NDArray[Any]] = field(default_factory=dict)
    cover: Vector = field(default_factory=lambda: np.empty(0))

    @property
    def is_leaf(self) -> Truths:
        return self.left < 0


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees that are summed in their order, after `start`, in 32 bits where the library itself does so.

    The sums are divided by `mean_of`: 1 for boosting, the number of trees for a mean.
    """

    trees: tuple[Tree, ...]
    outputs: int
    link: LinkFunction
    start: tuple[float, ...] = ()
    strict: bool = False
    in_32_bits: bool = False
    mean_of: int = 1

    def thresholds(self) -> dict[int, Vector]:
        """The distinct thresholds of each column that is split by one."""
        columns: list[Nodes] = []
        values: list[Vector] = []
        for tree in self.trees:
            by_value = ~tree.is_leaf
            by_value[list(tree.members)] = False
            columns.append(tree.column[by_value])
            values.append(tree.threshold[by_value])
        column, value = np.concatenate(columns), np.concatenate(values)
        return {int(number): np.unique(value[column == number]) for number in np.unique(column)}


def constant_tree(value: float, output: int) -> Tree:
    """A tree of one leaf, with the value that a sum starts with."""
    no_child = np.array([-1])
    return Tree(
        column=np.zeros(1, np.int64),
        threshold=np.zeros(1),
        left=no_child,
        right=no_child,
        missing_left=np.zeros(1, np.bool_),
        value=np.array([value]),
        output=output,
        cover=np.ones(1),
    )
