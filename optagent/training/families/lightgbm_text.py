"""What a LightGBM model file must look like before the library, which trusts its indices, is given it."""

from collections.abc import Mapping
from itertools import pairwise

from optagent.errors import CorruptBundle

_START = "tree\n"
_END = "pandas_categorical:null"


def check_text(text: str, objective: str, trees_per_round: int) -> None:
    """Raises CorruptBundle for a text that is cut off, of another task, or whose trees point outside themselves."""
    if not text.startswith(_START) or not text.rstrip().endswith(_END) or "\nend of trees\n" not in text:
        raise CorruptBundle("model.txt: not a whole LightGBM model")
    head, *trees = text.split("\nend of trees\n")[0].split("\nTree=")
    try:
        fields = _fields(head)
        if fields["objective"].split()[0] != objective or int(fields["num_tree_per_iteration"]) != trees_per_round:
            raise CorruptBundle(f"model.txt: a {objective} model is needed, got {fields['objective']!r}")
        if len(fields["tree_sizes"].split()) != len(trees) or len(trees) % trees_per_round:
            raise CorruptBundle("model.txt: trees are missing")
        columns = int(fields["max_feature_idx"]) + 1
        sound = all(_sound(_fields(tree), columns) for tree in trees)
    except (KeyError, ValueError, IndexError) as error:
        raise CorruptBundle(f"model.txt: {error!r}") from error
    if not sound:
        raise CorruptBundle("model.txt: a tree points outside itself")


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _numbers(tree: Mapping[str, str], name: str) -> list[int]:
    return [int(value) for value in tree[name].split()]


def _sound(tree: Mapping[str, str], columns: int) -> bool:
    """Inner nodes are numbered as they were made, so a child's number is above its parent's; leaf n is written ~n."""
    leaves = int(tree["num_leaves"])
    if leaves < 1 or len(tree["leaf_value"].split()) != leaves or int(tree.get("is_linear", "0")):
        return False
    if leaves == 1:
        return True
    inner = range(leaves - 1)
    children = (_numbers(tree, "left_child"), _numbers(tree, "right_child"))
    split, kinds = _numbers(tree, "split_feature"), _numbers(tree, "decision_type")
    if any(len(values) != len(inner) for values in (*children, split, kinds, tree["threshold"].split())):
        return False
    links = [(node, child) for side in children for node, child in enumerate(side)]
    if any(not (node < child < leaves - 1 or -leaves <= child < 0) for node, child in links):
        return False
    return all(0 <= column < columns for column in split) and _categories_sound(tree, kinds)


def _categories_sound(tree: Mapping[str, str], kinds: list[int]) -> bool:
    """A categorical split (bit 0 of its kind) names a bitset by number; bitsets lie one after the other."""
    count = int(tree["num_cat"])
    named = [float(value) for value, kind in zip(tree["threshold"].split(), kinds, strict=True) if kind & 1]
    if any(not 0 <= number < count for number in named):
        return False
    if not count:
        return True
    bounds = _numbers(tree, "cat_boundaries")
    ordered = all(low <= high for low, high in pairwise(bounds))
    return len(bounds) == count + 1 and bounds[0] == 0 and ordered and len(tree["cat_threshold"].split()) == bounds[-1]
