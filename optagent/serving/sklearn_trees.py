"""Trees of scikit-learn's forests and boosted histograms."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.domain.model import Task
from optagent.serving.boosted_trees import LINKS, bits_set
from optagent.serving.trees import Forest, LinkFunction, Tree


def sklearn_forest(forest: Any, task: Task, outputs: int) -> Forest:
    """The trees of a random forest or extra trees, on the columns that the forest itself is fitted on.

    A leaf adds to one output, so that each of several classes has a copy of the tree.
    """
    trees = tuple(tree for member in forest.estimators_ for tree in _member_trees(member.tree_, task, outputs))
    return Forest(trees, outputs, LinkFunction.IDENTITY, mean_of=len(forest.estimators_))


def histogram_forest(estimator: Any, task: Task, outputs: int, levels: int) -> Forest:
    """The trees of a HistGradientBoosting model on encoded rows; the codes of categories are below `levels`."""
    sources, codes = _estimator_columns(estimator, levels)
    trees = tuple(
        _histogram_tree(tree, output, sources, codes)
        for iteration in estimator._predictors
        for output, tree in enumerate(iteration)
    )
    start = tuple(np.ravel(estimator._baseline_prediction).tolist())
    return Forest(trees, outputs, LINKS[task], start)


def _member_trees(tree: Any, task: Task, outputs: int) -> Iterator[Tree]:
    values = tree.value[:, 0, :]
    classes = (1,) if task is Task.BINARY else range(outputs)
    for output, position in enumerate(classes):
        yield Tree(
            column=tree.feature.astype(np.int64),
            threshold=tree.threshold,
            left=tree.children_left.astype(np.int64),
            right=tree.children_right.astype(np.int64),
            missing_left=tree.missing_go_to_left.astype(np.bool_),
            value=values[:, position],
            output=output,
            cover=tree.weighted_n_node_samples,
        )


def _estimator_columns(estimator: Any, levels: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """For each column of the estimator, the encoded column and the estimator's numbers for its codes (NaN for none).

    The estimator moves its categorical columns to the front and numbers their categories anew.
    """
    columns = np.arange(estimator.n_features_in_)
    if estimator.is_categorical_ is None:
        return columns, np.empty((levels, 0))
    by_code = estimator.is_categorical_
    probe = np.zeros((levels, len(columns)), dtype=np.float32)
    probe[:, by_code] = np.arange(levels)[:, None]
    return np.concatenate([columns[by_code], columns[~by_code]]), estimator._preprocessor.transform(probe)


def _histogram_tree(tree: Any, output: int, sources: npt.NDArray[np.int64], codes: npt.NDArray[Any]) -> Tree:
    nodes = tree.nodes
    leaf = nodes["is_leaf"].astype(np.bool_)
    missing_left = nodes["missing_go_to_left"].astype(np.bool_)
    members = {}
    for node in np.flatnonzero(~leaf & nodes["is_categorical"].astype(np.bool_)):
        numbers = codes[:, nodes["feature_idx"][node]]
        goes_left = np.isin(numbers, bits_set(tree.raw_left_cat_bitsets[nodes["bitset_idx"][node]]))
        # A category that no training row had counts as missing.
        members[int(node)] = np.flatnonzero(np.where(np.isnan(numbers), missing_left[node], goes_left))
    return Tree(
        column=sources[nodes["feature_idx"].astype(np.int64)],
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        missing_left=missing_left,
        value=nodes["value"].astype(np.float64),
        output=output,
        members=members,
        cover=nodes["count"].astype(np.float64),
    )
