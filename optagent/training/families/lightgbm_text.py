"""Validation of LightGBM model files, before the library reads them.

LightGBM 4.7 reads trees at the offsets that the file names, trusts the numbers of their nodes, and ends the process on
a number or a parameter that it cannot read.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from optagent.errors import CorruptBundle

_HEAD = re.compile(
    r"tree\nversion=v4\nnum_class=(\d+)\nnum_tree_per_iteration=(\d+)\nlabel_index=0\nmax_feature_idx=(\d+)\n"
    r"objective=([^\n]*)\nfeature_names=([^\n]+)\nfeature_infos=([^\n]+)\ntree_sizes=([\d ]+)\n\n"
)
_TAIL = re.compile(
    r"end of trees\n\nfeature_importances:\n(Column_\d+=\d+\n)*\nparameters:\n(\[\w+: [^\n]*\]\n)+\n"
    r"end of parameters\n\npandas_categorical:null\s*"
)
_WHOLE = re.compile(r"-?\d{1,18}")
_NUMBER = re.compile(r"-?(\d+(\.\d+)?(e[-+]?\d+)?|inf)|nan")
_PER_INNER_NODE = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child")
_INNER_NODE_STATISTICS = ("internal_value", "internal_weight", "internal_count")
_PER_LEAF = ("leaf_value", "leaf_weight", "leaf_count")
_SINGLE_VALUES = ("num_leaves", "num_cat", "is_linear", "shrinkage")
_CATEGORIES = ("cat_boundaries", "cat_threshold")
_FIELDS = {*_PER_INNER_NODE, *_INNER_NODE_STATISTICS, *_PER_LEAF, *_SINGLE_VALUES, *_CATEGORIES}


def check_text(text: str, objectives: Sequence[str], trees_per_round: int) -> None:
    """Raises CorruptBundle for a text that is cut off, has another objective, or has a tree that points outside
    itself."""
    head = _HEAD.match(text)
    if head is None:
        raise CorruptBundle("model.txt: not a LightGBM model")
    classes, per_round, last_column = (int(head[group]) for group in (1, 2, 3))
    if head[4] not in objectives or not classes == per_round == trees_per_round:
        raise CorruptBundle(
            f"model.txt: a {' or '.join(objectives)} model is needed, got {head[4]!r} of {per_round} trees a round"
        )
    sizes = [int(size) for size in head[7].split()]
    names = head[5].split(" ")
    if len(names) != last_column + 1 or len(head[6].split(" ")) != len(names) or len(sizes) % per_round:
        raise CorruptBundle("model.txt: columns or trees are missing")
    if not _TAIL.fullmatch(text, head.end() + sum(sizes)):
        raise CorruptBundle("model.txt: not a whole LightGBM model")
    for number, block in enumerate(_tree_blocks(text, head.end(), sizes)):
        if not block.startswith(f"Tree={number}\n") or not _is_sound_tree(block, len(names)):
            raise CorruptBundle(f"model.txt: tree {number} points outside itself, or is no tree")


def _tree_blocks(text: str, start: int, sizes: Sequence[int]) -> Iterator[str]:
    for size in sizes:
        yield text[start : start + size]
        start += size


def _is_sound_tree(block: str, columns: int) -> bool:
    lines = [line.partition("=") for line in block.rstrip("\n").split("\n")[1:]]
    tree = {name: values.split() for name, _, values in lines}
    if set(tree) - set(_CATEGORIES) != _FIELDS - set(_CATEGORIES) or len(tree) != len(lines):
        return False
    if not all(_NUMBER.fullmatch(value) for values in tree.values() for value in values):
        return False
    if any(len(tree[name]) != 1 or not _WHOLE.fullmatch(tree[name][0]) for name in _SINGLE_VALUES[:3]):
        return False
    return len(tree["shrinkage"]) == 1 and tree["is_linear"] == ["0"] and _are_nodes_sound(tree, columns)


def _are_nodes_sound(tree: Mapping[str, list[str]], columns: int) -> bool:
    """True where the nodes form one tree over existing columns.

    Inner nodes are numbered in the order of their creation, so a child's number is above its parent's; leaf n is
    written ~n.
    """
    leaves = int(tree["num_leaves"][0])
    if leaves == 1:
        return len(tree["leaf_value"]) == 1 and tree["num_cat"] == ["0"] and not tree["split_feature"]
    if any(len(tree[name]) != leaves for name in _PER_LEAF):
        return False
    if any(len(tree[name]) != leaves - 1 for name in (*_PER_INNER_NODE, *_INNER_NODE_STATISTICS)):
        return False
    integers = ("split_feature", "decision_type", "left_child", "right_child", *_CATEGORIES)
    if not all(_WHOLE.fullmatch(value) for name in integers for value in tree.get(name, ())):
        return False
    links = [(node, int(child)) for side in ("left_child", "right_child") for node, child in enumerate(tree[side])]
    if sorted(child for _, child in links) != [*range(-leaves, 0), *range(1, leaves - 1)]:
        return False
    if any(0 <= child <= node for node, child in links):
        return False
    return all(0 <= int(column) < columns for column in tree["split_feature"]) and _are_categories_sound(tree)


def _are_categories_sound(tree: Mapping[str, list[str]]) -> bool:
    """True where every categorical split (bit 0 of its kind) names an existing bitset by number, and the bitsets lie
    one after the other."""
    count = int(tree["num_cat"][0])
    bitsets = [value for value, kind in zip(tree["threshold"], tree["decision_type"], strict=True) if int(kind) & 1]
    if any(not _WHOLE.fullmatch(value) or not 0 <= int(value) < count for value in bitsets):
        return False
    if not count:
        return "cat_boundaries" not in tree
    bounds, words = ([int(value) for value in tree.get(name, ())] for name in _CATEGORIES)
    if len(bounds) != count + 1 or bounds[0] != 0 or bounds[-1] != len(words):
        return False
    return all(low < high for low, high in pairwise(bounds)) and all(0 <= word < 2**32 for word in words)
