"""ONNX graph under construction: nodes and constants, each with a name of its own."""

from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.serving.onnx_engine import ANY_NUMBER, INPUT, OUTPUT
from optagent.serving.trees import Forest, LinkFunction, Tree, constant_tree

_OPSET, _ML_OPSET, _IR = 21, 5, 10
_AT_MOST, _BELOW, _MEMBER = 0, 1, 6  # modes of a TreeEnsemble node
_SUM = 1
_NO_CODE = -1.0


class Graph:
    """A graph that takes `rows` (rows, columns) in 32 bits and returns `scores` (rows, outputs) in 64 bits.

    `rows` is the name of the input of a model in the graph: the rows as they come, or features made of them.
    """

    def __init__(self, columns: int) -> None:
        self.rows = INPUT
        self._columns = columns
        self._rows_at_once = ANY_NUMBER
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, values: npt.ArrayLike) -> str:
        from onnx import numpy_helper

        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node and returns the name of its output."""
        from onnx import helper

        name = f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def cast(self, value: str, bits: int) -> str:
        from onnx import TensorProto

        return self.add("Cast", value, to={32: TensorProto.FLOAT, 64: TensorProto.DOUBLE, 1: TensorProto.INT64}[bits])

    def limit_rows(self, rows: int) -> None:
        """Lets the graph take so many rows at once, for the sake of memory, or fewer if that was said before."""
        self._rows_at_once = min(self._rows_at_once, rows)

    def add_link(self, margin: str, link: LinkFunction) -> str:
        if link is LinkFunction.SIGMOID:
            return self.add("Sigmoid", margin)
        return self.add("Softmax", margin, axis=1) if link is LinkFunction.SOFTMAX else margin

    def model(self, scores: str, outputs: int) -> bytes:
        """The whole graph as a serialized model whose output is `scores`."""
        from onnx import TensorProto, helper

        self._nodes.append(helper.make_node("Identity", [scores], [OUTPUT]))
        rows = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, self._columns])
        answer = helper.make_tensor_value_info(OUTPUT, TensorProto.DOUBLE, [None, outputs])
        graph = helper.make_graph(self._nodes, "model", [rows], [answer], self._constants)
        if self._rows_at_once < ANY_NUMBER:
            graph.doc_string = str(self._rows_at_once)  # where the engine reads it
        versions = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
        return bytes(helper.make_model(graph, opset_imports=versions, ir_version=_IR).SerializeToString())


def add_forest(graph: Graph, forest: Forest, rows: str) -> str:
    """The scores of a forest for `rows` in 32 bits.

    The libraries' own converters write thresholds in 32 bits, which moves a row next to a threshold to its other
    side; here sums and thresholds have the width that the library itself uses.
    """
    from onnx import numpy_helper

    width = np.float32 if forest.in_32_bits else np.float64
    starts = [constant_tree(value, output) for output, value in enumerate(forest.start)]
    attributes = _ensemble_attributes([*starts, *forest.trees], forest.strict)
    for name in ("nodes_splits", "leaf_weights", "membership_values"):
        attributes[name] = numpy_helper.from_array(attributes[name].astype(width), name)
    if not any(tree.members for tree in forest.trees):
        del attributes["membership_values"]
    summed = graph.add(
        "TreeEnsemble",
        rows if forest.in_32_bits else graph.cast(rows, 64),
        domain="ai.onnx.ml",
        n_targets=forest.outputs,
        aggregate_function=_SUM,
        post_transform=0,
        **attributes,
    )
    if forest.in_32_bits:
        summed = graph.cast(summed, 64)
    if forest.mean_of > 1:
        summed = graph.add("Div", summed, graph.constant(np.float64(forest.mean_of)))
    return graph.add_link(summed, forest.link)


def _ensemble_attributes(trees: list[Tree], strict: bool) -> dict[str, Any]:
    """The attributes of a TreeEnsemble; inner nodes and leaves are numbered separately through all trees."""
    from onnx import numpy_helper

    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _PARTS}
    inner, leaves = 0, 0
    for tree in trees:
        attributes_of_tree = _tree_attributes(tree, inner, leaves, strict)
        for name, values in attributes_of_tree.items():
            parts[name].append(values)
        inner += len(attributes_of_tree["nodes_featureids"])
        leaves += len(attributes_of_tree["leaf_weights"])
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    attributes: dict[str, Any] = {name: values.tolist() for name, values in whole.items() if name not in _TENSORS}
    modes = numpy_helper.from_array(whole["nodes_modes"].astype(np.uint8), "nodes_modes")
    return attributes | {name: whole[name] for name in _TENSORS} | {"nodes_modes": modes}


_TENSORS = ("nodes_splits", "leaf_weights", "membership_values", "nodes_modes")
_PARTS = (
    "tree_roots",
    "nodes_featureids",
    "nodes_truenodeids",
    "nodes_trueleafs",
    "nodes_falsenodeids",
    "nodes_falseleafs",
    "nodes_missing_value_tracks_true",
    "leaf_targetids",
    *_TENSORS,
)


def _tree_attributes(tree: Tree, inner: int, leaves: int, strict: bool) -> dict[str, npt.NDArray[Any]]:
    leaf = tree.is_leaf
    number = np.where(leaf, leaves + np.cumsum(leaf) - 1, inner + np.cumsum(~leaf) - 1)
    if leaf[0]:  # ONNX needs an inner node all the same: one whose two children are the leaf.
        nodes, left, right = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64)
    else:
        nodes = np.flatnonzero(~leaf)
        left, right = tree.left[nodes], tree.right[nodes]
    modes = np.full(len(leaf), _BELOW if strict else _AT_MOST)
    modes[list(tree.members)] = _MEMBER
    sets = [np.append(tree.members[node] if len(tree.members[node]) else _NO_CODE, np.nan) for node in tree.members]
    order = np.argsort(list(tree.members), kind="stable")
    return {
        "tree_roots": np.array([inner]),
        "nodes_featureids": np.maximum(tree.column[nodes], 0),
        "nodes_truenodeids": number[left],
        "nodes_trueleafs": leaf[left].astype(np.int64),
        "nodes_falsenodeids": number[right],
        "nodes_falseleafs": leaf[right].astype(np.int64),
        "nodes_missing_value_tracks_true": tree.missing_left[nodes].astype(np.int64),
        "nodes_splits": tree.threshold[nodes],
        "nodes_modes": modes[nodes],
        "membership_values": np.concatenate([np.empty(0), *(sets[index] for index in order)]),
        "leaf_weights": tree.value[leaf],
        "leaf_targetids": np.full(int(leaf.sum()), tree.output),
    }
