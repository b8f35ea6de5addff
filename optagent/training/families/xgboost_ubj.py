"""Validation of XGBoost model files, before the library reads them.

XGBoost 3.2 aborts the process on a file that is cut short, and trusts the numbers of a tree's nodes.

Universal Binary JSON as XGBoost writes it: https://ubjson.org, names and sizes as 64-bit integers, typed arrays.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.errors import CorruptBundle

_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_CONSTANTS = {b"T": True, b"F": False, b"Z": None}
_DEEPEST = 32
_MOST_LEVELS = 2**24
_NO_PARENT = 2**31 - 1
_PER_NODE = (
    "left_children",
    "right_children",
    "split_indices",
    "parents",
    "split_conditions",
    "split_type",
    "default_left",
    "base_weights",
    "loss_changes",
    "sum_hessian",
)


def check_ubj(content: bytes, objectives: Sequence[str], classes: int) -> None:
    """Raises CorruptBundle for a file that is cut short, has another objective, or has a tree that points outside
    itself.

    `classes` is 0 except for a multiclass model.
    """
    try:
        learner = _UbjsonReader(content).read_document()["learner"]
        params, actual = learner["learner_model_param"], learner["objective"]["name"]
        if actual not in objectives or int(params["num_class"]) != classes:
            raise CorruptBundle(
                f"model.ubj: a {' or '.join(objectives)} model is needed, got {actual} of {params['num_class']} classes"
            )
        model = learner["gradient_booster"]["model"]
        sound = learner["gradient_booster"]["name"] == "gbtree" and _is_sound_forest(model, max(1, classes))
        columns = int(params["num_feature"])
        sound = sound and all(_is_sound_tree(tree, columns) and _are_categories_sound(tree) for tree in model["trees"])
    except (KeyError, ValueError, TypeError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise CorruptBundle(f"model.ubj: {error!r}") from error
    if not sound:
        raise CorruptBundle("model.ubj: a tree points outside itself, or trees are missing")


def _is_sound_forest(model: Mapping[str, Any], groups: int) -> bool:
    trees, starts = len(model["trees"]), [int(start) for start in model["iteration_indptr"]]
    owners = [int(group) for group in model["tree_info"]]
    return (
        trees == int(model["gbtree_model_param"]["num_trees"]) == len(owners)
        and starts == list(range(0, trees + 1, groups))
        and all(0 <= group < groups for group in owners)
    )


def _is_sound_tree(tree: Mapping[str, Any], columns: int) -> bool:
    """True where the nodes form one tree over existing columns, followed from the root: pruned nodes stay in the arrays
    with meaningless numbers."""
    count = int(tree["tree_param"]["num_nodes"])
    left, right, split, parents = (np.asarray(tree[name]) for name in _PER_NODE[:4])
    if count < 1 or any(len(tree[name]) != count for name in _PER_NODE):
        return False
    if int(tree["tree_param"]["num_feature"]) != columns or int(tree["tree_param"]["size_leaf_vector"]) > 1:
        return False
    if ((parents < 0) | ((parents >= count) & (parents != _NO_PARENT))).any() or parents[0] != _NO_PARENT:
        return False
    nodes = np.zeros(1, dtype=np.int64)
    while len(nodes := nodes[left[nodes] != -1]):
        children = np.concatenate([left[nodes], right[nodes]]).astype(np.int64)
        if (children <= np.tile(nodes, 2)).any() or (children >= count).any():
            return False
        if (parents[children] != np.tile(nodes, 2)).any():
            return False
        if (split[nodes] < 0).any() or (split[nodes] >= columns).any():
            return False
        nodes = np.unique(children)
    return True


def _are_categories_sound(tree: Mapping[str, Any]) -> bool:
    """True where every categorical split has its own segment of the list of categories."""
    names = ("categories_nodes", "categories_segments", "categories_sizes", "categories", "split_type")
    nodes, starts, sizes, levels, kinds = (np.asarray(tree[name], dtype=np.int64) for name in names)
    if not len(nodes) == len(starts) == len(sizes) or not np.isin(kinds, (0, 1)).all():
        return False
    return (
        np.array_equal(nodes, np.flatnonzero(kinds == 1))
        and bool(((starts >= 0) & (sizes > 0) & (starts + sizes <= len(levels))).all())
        and bool(((levels >= 0) & (levels < _MOST_LEVELS)).all())
    )


class _UbjsonReader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def read_document(self) -> Any:
        document = self._value(self._take(1), 0)
        if self._at != len(self._content):
            raise ValueError(f"{len(self._content) - self._at} bytes too many")
        return document

    def _take(self, size: int) -> bytes:
        if not 0 <= size <= len(self._content) - self._at:
            raise ValueError(f"cut short at byte {len(self._content)}")
        self._at += size
        return self._content[self._at - size : self._at]

    def _peek(self) -> bytes:
        return self._content[self._at : self._at + 1]

    def _value(self, marker: bytes, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"nested deeper than {_DEEPEST}")
        if marker in _NUMBERS:
            return self._numbers(_NUMBERS[marker], 1)[0].item()
        if marker == b"S":
            return self._text()
        if marker == b"{":
            return self._object(depth + 1)
        if marker == b"[":
            return self._array(depth + 1)
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        raise ValueError(f"unknown marker {marker!r} at byte {self._at - 1}")

    def _numbers(self, kind: str, count: int) -> npt.NDArray[Any]:
        return np.frombuffer(self._take(count * np.dtype(kind).itemsize), dtype=kind)

    def _size(self) -> int:
        marker = self._take(1)
        if marker not in (b"i", b"U", b"I", b"l", b"L"):
            raise ValueError(f"a size is needed at byte {self._at - 1}, got {marker!r}")
        return int(self._numbers(_NUMBERS[marker], 1)[0])

    def _text(self) -> str:
        return self._take(self._size()).decode("utf-8")

    def _object(self, depth: int) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        while self._peek() != b"}":
            name = self._text()
            fields[name] = self._value(self._take(1), depth)
        self._take(1)
        return fields

    def _array(self, depth: int) -> Any:
        """Reads an array: a typed one has neither markers nor an end mark, a counted one has no end mark."""
        if self._peek() == b"$":
            self._take(1)
            kind = self._take(1)
            if kind not in _NUMBERS or self._take(1) != b"#":
                raise ValueError(f"a typed array of {kind!r} at byte {self._at}")
            return self._numbers(_NUMBERS[kind], self._size())
        if self._peek() == b"#":
            self._take(1)
            return [self._value(self._take(1), depth) for _ in range(self._size())]
        items = []
        while self._peek() != b"]":
            items.append(self._value(self._take(1), depth))
        self._take(1)
        return items
