"""Validation of the trees in scikit-learn models, whose node numbers prediction follows unchecked."""

from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.errors import CorruptBundle


def _final_estimator(model: Any) -> Any:
    return model.steps[-1][1] if type(model).__name__ == "Pipeline" else model


def _refuse_unless(sound: Any) -> None:
    if not sound:
        raise CorruptBundle("model.skops: a tree points outside itself")


def _check_nodes(
    leaf: npt.NDArray[np.bool_], left: npt.NDArray[Any], right: npt.NDArray[Any], column: npt.NDArray[Any], columns: int
) -> None:
    """Raises CorruptBundle unless every child is numbered above its parent, so that following children always ends."""
    _refuse_unless(len(leaf))
    nodes, inner = np.arange(len(leaf)), ~leaf
    for child in (left, right):
        _refuse_unless(((child[inner] > nodes[inner]) & (child[inner] < len(leaf))).all())
    _refuse_unless(((column[inner] >= 0) & (column[inner] < columns)).all())


def check_forest(model: Any) -> None:
    """Raises CorruptBundle for a forest whose trees do not fit it; other models pass."""
    forest = _final_estimator(model)
    for member in getattr(forest, "estimators_", ()):
        tree = member.tree_
        _refuse_unless(tree.n_features == member.n_features_in_ == forest.n_features_in_)
        _refuse_unless(tree.n_outputs == 1 and tree.value.shape[2] == getattr(forest, "n_classes_", 1))
        # In these trees a leaf is a node without a left child.
        _check_nodes(tree.children_left == -1, tree.children_left, tree.children_right, tree.feature, tree.n_features)


def check_hist(model: Any) -> None:
    """Raises CorruptBundle for boosted histogram trees that do not fit their model; other models pass."""
    booster = _final_estimator(model)
    if not hasattr(booster, "_predictors"):
        return
    columns, mapper = booster._n_features, booster._bin_mapper
    _refuse_unless(columns == booster.n_features_in_ == len(mapper.bin_thresholds_) == len(mapper.is_categorical_))
    categorical = np.asarray(mapper.is_categorical_, dtype=bool)
    for thresholds in (mapper.bin_thresholds_[column] for column in np.flatnonzero(categorical)):
        # Category codes index a bitset of 256.
        _refuse_unless(((np.asarray(thresholds) >= 0) & (np.asarray(thresholds) < 256)).all())
    for trees in booster._predictors:
        _refuse_unless(len(trees) == booster.n_trees_per_iteration_)
        for tree in trees:
            nodes = tree.nodes
            leaf = nodes["is_leaf"].astype(bool)
            _check_nodes(leaf, nodes["left"], nodes["right"], nodes["feature_idx"], columns)
            splits = nodes[~leaf & nodes["is_categorical"].astype(bool)]
            _refuse_unless(categorical[splits["feature_idx"]].all())
            _refuse_unless((splits["bitset_idx"] < len(tree.raw_left_cat_bitsets)).all())
            _refuse_unless(tree.raw_left_cat_bitsets.shape[1:] == (8,))
