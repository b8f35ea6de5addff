"""Boosted trees of LightGBM and XGBoost, read from the libraries' own texts."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.serving.trees import Forest, LinkFunction, Tree, constant_tree

LINKS = {
    Task.BINARY: LinkFunction.SIGMOID,
    Task.MULTICLASS: LinkFunction.SOFTMAX,
    Task.REGRESSION: LinkFunction.IDENTITY,
}

# Bits of LightGBM's decision_type; the two bits above say which values count as missing.
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_ZERO = float(np.float32(1e-35))
_MISSING_NONE, _MISSING_ZERO = 0, 1


def lightgbm_forest(booster: Any, task: Task, outputs: int) -> Forest:
    """The trees of a `lightgbm.Booster`; they are summed in 64 bits."""
    sections = booster.model_to_string().split("\nTree=")[1:]
    trees = tuple(_lightgbm_tree(_parse_fields(text), index % outputs) for index, text in enumerate(sections))
    return Forest(trees, outputs, LINKS[task])


def xgboost_forest(booster: Any, task: Task, outputs: int) -> Forest:
    """The trees of an `xgboost.Booster`, which compares with `<` and sums from the base score on, in 32 bits."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    base = np.atleast_1d(np.asarray(json.loads(learner["learner_model_param"]["base_score"]), dtype=np.float64))
    if task is Task.BINARY:
        base = -np.log(1.0 / base - 1.0)
    model = learner["gradient_booster"]["model"]
    groups = zip(model["trees"], model["tree_info"], strict=True)
    return Forest(
        trees=tuple(_xgboost_tree(tree, int(group)) for tree, group in groups),
        outputs=outputs,
        link=LINKS[task],
        start=tuple(np.broadcast_to(base, outputs).tolist()),
        strict=True,
        in_32_bits=True,
    )


def _parse_fields(text: str) -> dict[str, str]:
    lines = text.partition("\n\n")[0].split("\n")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _lightgbm_tree(fields: Mapping[str, str], output: int) -> Tree:
    """Inner nodes first, then the leaves, which LightGBM counts from -1 downwards."""
    leaves = _parse_numbers(fields["leaf_value"])
    if fields.get("is_linear", "0") != "0":
        raise InvalidRequest("LightGBM: linear trees are not compiled")
    if len(leaves) == 1:
        return constant_tree(float(leaves[0]), output)
    left, right, column, decision = (
        _parse_numbers(fields[name]).astype(np.int64)
        for name in ("left_child", "right_child", "split_feature", "decision_type")
    )
    inner = len(left)
    by_code = decision & _CATEGORICAL > 0
    split_values = _parse_numbers(fields["threshold"])
    threshold = np.where(by_code, split_values, _move_off_zero(split_values))
    missing = decision >> 2
    if (missing[~by_code] == _MISSING_ZERO).any():
        raise InvalidRequest("LightGBM: trees that take zero as missing are not compiled")
    # A missing number counts as 0 where no training row lacked one; a missing category is in no set.
    missing_left = np.where(missing == _MISSING_NONE, threshold >= 0.0, decision & _DEFAULT_LEFT > 0) & ~by_code
    no_child = np.full(len(leaves), -1)
    return Tree(
        column=np.concatenate([column, np.zeros(len(leaves), np.int64)]),
        threshold=np.concatenate([threshold, np.zeros(len(leaves))]),
        left=np.concatenate([np.where(left < 0, inner - left - 1, left), no_child]),
        right=np.concatenate([np.where(right < 0, inner - right - 1, right), no_child]),
        missing_left=np.concatenate([missing_left, np.zeros(len(leaves), np.bool_)]),
        value=np.concatenate([np.zeros(inner), leaves]),
        output=output,
        members=dict(_lightgbm_category_sets(fields, np.flatnonzero(by_code), threshold)),
        cover=np.concatenate([_parse_numbers(fields.get(name, "")) for name in ("internal_count", "leaf_count")]),
    )


def _move_off_zero(thresholds: Vector) -> Vector:
    """Thresholds moved off zero: LightGBM predicts values this close to zero as zero, so none may split them."""
    moved = np.where(thresholds >= 0.0, _ZERO, np.nextafter(-_ZERO, -np.inf))
    return np.where(np.abs(thresholds) <= _ZERO, moved, thresholds)


def _lightgbm_category_sets(
    fields: Mapping[str, str], nodes: npt.NDArray[np.int64], threshold: Vector
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """The threshold of a categorical split is the number of its bitset."""
    if not len(nodes):
        return
    bounds = _parse_numbers(fields["cat_boundaries"]).astype(np.int64)
    words = _parse_numbers(fields["cat_threshold"]).astype("<u4")
    for node in nodes:
        position = int(threshold[node])
        yield int(node), bits_set(words[bounds[position] : bounds[position + 1]])


def bits_set(words: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The positions of the bits that are set in 32-bit words.

    >>> bits_set(np.array([5, 1], dtype="<u4"))
    array([ 0,  2, 32])
    """
    return np.flatnonzero(np.unpackbits(np.ascontiguousarray(words, "<u4").view(np.uint8), bitorder="little"))


def _xgboost_tree(tree: Mapping[str, Any], output: int) -> Tree:
    """XGBoost sends the categories of a split right and all others left, so such a split is mirrored."""
    left, right = (np.asarray(tree[name], dtype=np.int64) for name in ("left_children", "right_children"))
    values = np.asarray(tree["split_conditions"], dtype=np.float32).astype(np.float64)
    missing_left = np.asarray(tree["default_left"]) > 0
    nodes, starts, sizes = (tree[name] for name in ("categories_nodes", "categories_segments", "categories_sizes"))
    codes = np.asarray(tree["categories"], dtype=np.int64)
    members = {}
    for node, first, size in zip(nodes, starts, sizes, strict=True):
        members[int(node)] = codes[first : first + size]
        left[node], right[node] = right[node], left[node]
        missing_left[node] = not missing_left[node]
    leaf = left < 0
    column = np.asarray(tree["split_indices"], dtype=np.int64)
    cover = np.asarray(tree.get("sum_hessian", ()), dtype=np.float64)
    return Tree(column, values, left, right, missing_left, np.where(leaf, values, 0.0), output, members, cover)


def _parse_numbers(text: str) -> Vector:
    return np.array(text.split(), dtype=np.float64)
