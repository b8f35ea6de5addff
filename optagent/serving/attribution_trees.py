"""Tree attribution: exact path-dependent SHAP values of a forest, from tables that are made once.

Of a leaf of value v, the game v·∏o_j·∏z_j (o_j: the row satisfies the path's splits on column j; z_j: the share of the
training rows that does) has the Shapley values v·(o_i - z_i)·∫∏_{j≠i}((1-t)·z_j + t·o_j)dt (Owen 1972; Lundberg et al.
2020, algorithm 1). The integrand is a polynomial, so Gauss-Legendre quadrature with half as many points as a path has
columns gives the integral exactly. As in Linear TreeSHAP (Yu et al. 2022), the leaves below an edge are summed first,
so that a row costs nodes times points. All trees of a block go down and up a level at a time.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from optagent.arrays import Mask, Vector
from optagent.errors import Conflict
from optagent.serving.tree_arrays import NO_COVERS, Indexes, TreeArrays, find_levels, split_trees

Points = npt.NDArray[np.float64]
"""(edges, points) numbers at each point of the quadrature."""

MOST_KEPT = 2_000_000
"""Nodes times points of tables that are kept, in 48 bytes each; larger forests do without, and take twice the time."""
_LEAST = 1e-250


class EdgeWeights(NamedTuple):
    """`ratio`: the factor of an edge over that of the edge above it on the same column, times the value of its leaf, if
    any; `gain`: the weights of the sum of all that is below it."""

    ratio: Points
    gain: Points


class TreeBlock:
    """Trees that are walked together. Nodes are numbered by level, the roots first; the edge of a node leads to it.

    An edge is in state 2 where the row satisfies it and all edges above it on the same column, in state 1 where it does
    not but satisfies those above, and otherwise in state 0. It contributes to `output` for the column `owner` of the
    row; `expected` are the sums of the outputs before any column is known.
    """

    def __init__(self, trees: TreeArrays) -> None:
        levels = find_levels(trees)
        order = np.concatenate(levels)
        place = np.full(len(trees.left), -1, dtype=np.intp)
        place[order] = np.arange(len(order))
        left, right = (np.where(child[order] >= 0, place[child[order]], -1) for child in (trees.left, trees.right))
        self._roots, self._nodes = len(levels[0]), len(order)
        bounds = np.cumsum([0, *map(len, levels)])
        inner = np.flatnonzero(left >= 0)
        parent = np.zeros(self._nodes, dtype=np.intp)
        parent[left[inner]] = parent[right[inner]] = inner
        self._parent, self._is_left = parent, np.zeros(self._nodes, dtype=np.bool_)
        self._is_left[left[inner]] = True
        self._levels = [(slice(a, b), parent[a:b]) for a, b in pairwise(bounds[1:])]
        self._up = [
            (slice(at[0], at[-1] + 1), left[at], right[at])
            for at in reversed(np.split(inner, np.searchsorted(inner, bounds[1:-1])))
            if len(at)
        ]
        self._read_splits(trees, order)
        self._value = np.where(left < 0, trees.value[order], 1.0)[:, None]
        self._above = self._find_above(trees.player[order])
        self._chains = self._find_chains()
        self._share, self._passed, depth = self._find_shares(trees.cover[order])
        self.points = max(1, (int(depth.max()) + 1) // 2)
        self.owner, self.output = self._edge_source, trees.output[order]
        self.expected = self._expect_sums(left < 0, trees.value[order])
        self._tables: EdgeWeights | None = None

    @property
    def cells(self) -> int:
        """The numbers that a row costs: nodes times points."""
        return self._nodes * self.points

    def keep_tables(self) -> None:
        """Makes the weights of all edges in all states, one state after the other, and keeps them."""
        states = [self._weigh_states(np.full(self._nodes, state)) for state in range(3)]
        self._tables = EdgeWeights(*(np.concatenate(parts) for parts in zip(*states, strict=True)))

    def contributions(self, x: Vector) -> Vector:
        """(nodes,) the contributions of the edges of one row, to be summed by `owner` and output; 0 for the roots."""
        weights = self._weigh_edges(self._find_states(x))
        sums = weights.ratio
        sums[: self._roots] = 1.0
        for level, parents in self._levels:
            sums[level] *= sums.take(parents, axis=0, mode="clip")
        for inner, left, right in self._up:
            np.add(sums.take(left, axis=0, mode="clip"), sums.take(right, axis=0, mode="clip"), out=sums[inner])
        edges: Vector = np.einsum("nq,nq->n", weights.gain, sums)
        edges[: self._roots] = 0.0
        return edges

    def _find_states(self, x: Vector) -> Indexes:
        values = x.take(self._edge_source)
        goes_left = values <= self._edge_threshold
        if len(self._coded):
            codes = values[self._coded]
            known = (codes >= 0) & (codes < self._unknown)  # False for NaN
            goes_left[self._coded] = self._members[
                self._member_rows, np.where(known, codes, self._unknown).astype(np.intp)
            ]
        missing = np.isnan(values)
        goes_left[missing] = self._edge_missing_left[missing]
        satisfied = goes_left == self._is_left
        for edges, above in self._chains:
            satisfied[edges] &= satisfied[above]
        state: Indexes = (satisfied[self._above] | self._is_first).astype(np.intp)
        state += satisfied
        return state

    def _read_splits(self, trees: TreeArrays, order: Indexes) -> None:
        """The splits of the parents, by edge."""
        nodes = order[self._parent]
        self._edge_source, self._edge_threshold = trees.source[nodes], trees.threshold[nodes]
        self._edge_missing_left = trees.missing_left[nodes]
        by_code = np.isnan(trees.threshold)
        self._coded = np.flatnonzero(by_code[nodes])
        self._members, self._member_rows = trees.members, np.cumsum(by_code)[nodes[self._coded]] - 1
        self._unknown = trees.members.shape[1] - 1

    def _find_above(self, player: Indexes) -> Indexes:
        """(nodes,) the next edge above on the same column; 0 where there is none, and `_is_first` is True."""
        player = player[self._parent]
        above, at = np.zeros(self._nodes, dtype=np.intp), self._parent.copy()
        self._is_first = np.ones(self._nodes, dtype=np.bool_)
        active = np.arange(self._roots, self._nodes)
        while len(active):
            active = active[at[active] >= self._roots]
            same = player[at[active]] == player[active]
            ended = active[same]
            above[ended], self._is_first[ended] = at[ended], False
            active = active[~same]
            at[active] = self._parent[at[active]]
        return above

    def _find_chains(self) -> Sequence[tuple[Indexes, Indexes]]:
        """Edges that have one above on the same column, those with fewest above first, and the next above of each."""
        length = np.zeros(self._nodes, dtype=np.intp)
        for level, _ in self._levels:
            length[level] = np.where(self._is_first[level], 0, length[self._above[level]] + 1)
        chains = [np.flatnonzero(length == count) for count in range(1, int(length.max()) + 1)]
        return [(edges, self._above[edges]) for edges in chains]

    def _find_shares(self, cover: Vector) -> tuple[Vector, Vector, Indexes]:
        """Of each edge: the share of the rows of its parent, the product on its column, and the columns of its path."""
        share, depth = np.ones(self._nodes), np.zeros(self._nodes, dtype=np.intp)
        above = cover[self._parent[self._roots :]]
        if not np.isfinite(cover).all() or (cover < 0).any() or (above <= 0).any():
            raise Conflict(NO_COVERS)
        share[self._roots :] = cover[self._roots :] / above
        passed = share.copy()
        for level, parents in self._levels:
            first = self._is_first[level]
            passed[level] *= np.where(first, 1.0, passed[self._above[level]])
            depth[level] = depth[parents] + first
        return share, np.maximum(passed, _LEAST), depth  # so that nothing is divided by 0

    def _weigh_edges(self, state: Indexes) -> EdgeWeights:
        """The weights of each edge in its state, as new arrays."""
        if self._tables is None:
            return self._weigh_states(state)
        state *= self._nodes
        state += np.arange(self._nodes)
        return EdgeWeights(*(table.take(state, axis=0, mode="clip") for table in self._tables))

    def _weigh_states(self, state: Indexes) -> EdgeWeights:
        """The same, computed. An edge of state 0 has the factor of one that is not satisfied, and so has that above."""
        nodes, weights = np.polynomial.legendre.leggauss(self.points)
        t, weights = (nodes + 1) / 2, weights / 2
        share, share_above = self._passed[:, None], self._passed[self._above][:, None]
        satisfied, satisfied_above = (state == 2)[:, None], (state > 0)[:, None]
        factor = (1 - t) * share
        np.add(factor, t, out=factor, where=satisfied)
        factor_above = (1 - t) * share_above
        np.add(factor_above, t, out=factor_above, where=satisfied_above)
        gain = (satisfied - share) / factor
        gain -= (satisfied_above - share_above) / factor_above * ~self._is_first[:, None]
        gain *= weights
        factor_above[self._is_first] = 1.0
        factor /= factor_above
        factor *= self._value
        return EdgeWeights(factor, gain)

    def _expect_sums(self, leaf: Mask, value: Vector) -> Vector:
        """(outputs,) the sums of the trees that are expected before any column is known."""
        reached = np.ones(self._nodes)
        for level, parents in self._levels:
            reached[level] = reached[parents] * self._share[level]
        return np.bincount(self.output[leaf], reached[leaf] * value[leaf]).astype(np.float64)


class TreeAttributor:
    """Contributions of the columns of rows to the sums of a forest, in blocks of trees."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        """Takes the arrays of `tree_arrays.forest_arrays`; raises Conflict for trees without covers."""
        self._columns, self._outputs = int(arrays["columns"]), int(arrays["outputs"])
        self._scale = 1.0 / float(arrays["mean_of"])
        trees = TreeArrays(**{name: arrays[name] for name in TreeArrays._fields})
        self._blocks = [TreeBlock(part) for part in split_trees(trees)]
        self._keys = [block.output * self._columns + block.owner for block in self._blocks]
        self.base = np.asarray(arrays["start"], dtype=np.float64).copy()
        for block in self._blocks:
            self.base[: len(block.expected)] += block.expected * self._scale
        self.cells = sum(block.cells for block in self._blocks)
        if self.cells <= MOST_KEPT:
            for block in self._blocks:
                block.keep_tables()

    def contributions(self, x: npt.NDArray[Any]) -> Points:
        """(rows, outputs, columns) the contributions to the margins, which with `base` (outputs,) they sum to."""
        rows = np.asarray(x, dtype=np.float64)
        totals = np.zeros((len(rows), self._outputs * self._columns))
        for block, keys in zip(self._blocks, self._keys, strict=True):
            for row, total in zip(rows, totals, strict=True):
                total += np.bincount(keys, block.contributions(row), len(total))
        return (totals * self._scale).reshape(len(rows), self._outputs, self._columns)
