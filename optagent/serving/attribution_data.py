"""Attribution data: the arrays that contributions of a model are computed from, read where its library is installed.

They are plain arrays by name, so that a gateway needs no library of the model. Parts of a model have names that begin
with the name of the part and a dot.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from optagent.codec import encode
from optagent.domain.model import Task
from optagent.errors import Conflict, InvalidRequest, Malformed
from optagent.serving.attribution_linear import linear_arrays
from optagent.serving.boosted_trees import lightgbm_forest, xgboost_forest
from optagent.serving.evidence_record import count_outputs
from optagent.serving.oblivious_arrays import oblivious_arrays
from optagent.serving.oblivious_trees import catboost_forest
from optagent.serving.onnx_columns import Levels, category_tables
from optagent.serving.sklearn_trees import histogram_forest, sklearn_forest
from optagent.serving.tree_arrays import forest_arrays
from optagent.serving.trees import Forest, LinkFunction, Tree
from optagent.training.average import WeightedMean
from optagent.training.families.parts import ModelPart
from optagent.training.families.sklearn_columns import source_columns
from optagent.training.predictor import Predictor
from optagent.training.stack import Stack

Arrays = dict[str, npt.NDArray[Any]]


LOG_ODDS, PROBABILITY, VALUE = "log-odds", "probability", "value"
"""The unit of contributions: of boosted and linear classifiers, of forests' classes, and of regressions."""


class _Source(NamedTuple):
    """A fitted model and the shape of its rows and answers."""

    model: Any
    task: Task
    outputs: int
    levels: Levels


def read_attribution(predictor: Predictor) -> Arrays:
    """The arrays of a model; raises Conflict for one that has no exact contributions, naming those that do."""
    manifest = predictor.manifest
    levels = [column.levels for column in predictor.schema.columns]
    source = _Source(predictor.model, manifest.task, count_outputs(manifest.task, manifest.classes), levels)
    return _read_part(manifest.family, source)


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Arrays as bytes, without pickles."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack_arrays(data: bytes) -> Arrays:
    """The arrays of bytes; raises Malformed."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise Malformed(f"no arrays of a model: {error}") from None


def _read_part(family: str, source: _Source) -> Arrays:
    reader = _READERS.get(family)
    if reader is None:
        raise Conflict(f"a model of the family {family} gives no reasons: {', '.join(_READERS)} do")
    try:
        return reader(source)
    except InvalidRequest as error:
        raise Conflict(f"this model gives no reasons: {error}") from None


def _read_lightgbm(source: _Source) -> Arrays:
    return _forest_arrays(lightgbm_forest(source.model._booster, source.task, source.outputs), source)


def _read_xgboost(source: _Source) -> Arrays:
    return _forest_arrays(xgboost_forest(source.model._booster, source.task, source.outputs), source)


def _read_catboost(source: _Source) -> Arrays:
    unit = np.array(LOG_ODDS if source.task.classifies else VALUE)
    forest = catboost_forest(source.model, source.task, source.outputs, source.levels)
    weights = [tree["leaf_weights"] for tree in source.model.document["oblivious_trees"]]
    return {"kind": np.array("oblivious"), "unit": unit, **oblivious_arrays(forest, weights, source.levels)}


def _read_histograms(source: _Source) -> Arrays:
    levels = max(source.levels, default=0)
    return _forest_arrays(histogram_forest(source.model._estimator, source.task, source.outputs, levels), source)


def _read_sklearn_forest(source: _Source) -> Arrays:
    """A split on what is made of a category is one on its codes, but each column that is made of it is a player."""
    columns, estimator = source.model._estimator["columns"], source.model._estimator["model"]
    forest = sklearn_forest(estimator, source.task, source.outputs)
    tables = {
        position: table[:, at]
        for positions, table in category_tables(columns, source.levels).values()
        for at, position in enumerate(positions)
    }
    trees = tuple(_split_by_code(tree, tables) for tree in forest.trees)
    return _forest_arrays(replace(forest, trees=trees), source, source_columns(columns))


def _split_by_code(tree: Tree, tables: Mapping[int, npt.NDArray[np.float32]]) -> Tree:
    """The tree with a set of codes for each split of a column of these; the last value of a table is that of NaN."""
    missing_left, members = tree.missing_left.copy(), dict(tree.members)
    for node in np.flatnonzero(~tree.is_leaf & np.isin(tree.column, list(tables))):
        goes_left = tables[int(tree.column[node])] <= tree.threshold[node]
        members[int(node)], missing_left[node] = np.flatnonzero(goes_left[:-1]), goes_left[-1]
    return replace(tree, members=members, missing_left=missing_left)


def _forest_arrays(forest: Forest, source: _Source, sources: npt.NDArray[Any] | None = None) -> Arrays:
    unit = VALUE
    if source.task.classifies:
        unit = PROBABILITY if forest.link is LinkFunction.IDENTITY else LOG_ODDS
    return {
        "kind": np.array("trees"),
        "unit": np.array(unit),
        **forest_arrays(forest, len(source.levels), sources),
    }


def _read_linear(source: _Source) -> Arrays:
    unit = np.array(LOG_ODDS if source.task.classifies else VALUE)
    return {"kind": np.array("linear"), "unit": unit, **linear_arrays(source.model._estimator, source.levels)}


def _read_engineered(source: _Source) -> Arrays:
    plan = source.model.plan
    place = {name: index for index, name in enumerate(plan.columns)}
    levels = [*(source.levels[place[name]] for name in plan.kept_columns), *(0 for _ in plan.steps)]
    inner = _read_part(source.model.inner.family, source._replace(model=source.model.inner.model, levels=levels))
    return {
        "kind": np.array("plan"),
        "unit": inner["unit"],
        "plan": np.frombuffer(encode(plan), np.uint8),
        **_with_prefix("inner", inner),
    }


def _read_ensemble(source: _Source) -> Arrays:
    """The weighted sum of the members, where the ensemble adds on the scale on which these add."""
    combined = source.model.combined
    parts = [_read_member(name, member, source) for name, member in source.model.members.items()]
    units = {str(part["unit"]) for part in parts}
    stacked = isinstance(combined, Stack)
    if not stacked and not isinstance(combined, WeightedMean):
        raise Conflict("an ensemble that votes gives no reasons: a vote is no sum of contributions")
    needed = VALUE if source.task is Task.REGRESSION else LOG_ODDS if stacked else PROBABILITY
    if units != {needed}:
        raise Conflict(
            f"this ensemble gives no reasons: it adds {_NAMES[needed]}, its members' contributions add up to"
            f" {' and '.join(_NAMES[unit] for unit in sorted(units - {needed}))}"
        )
    arrays: Arrays = {
        "kind": np.array("sum"),
        "unit": np.array(needed),
        "weights": np.array(combined.weights, dtype=np.float64),
        "intercepts": np.array(combined.intercepts if stacked else np.zeros(source.outputs), dtype=np.float64),
    }
    columns = combined.columns if stacked else ()
    arrays["stack_places"] = np.array([column.position for column in columns], dtype=np.intp)
    arrays["stack_means"] = np.array([column.mean for column in columns], dtype=np.float64)
    arrays["stack_scales"] = np.array([column.scale for column in columns], dtype=np.float64)
    weights = np.array([column.coefficients for column in columns], dtype=np.float64)
    arrays["stack_weights"] = weights.reshape(len(columns), source.outputs)
    for number, part in enumerate(parts):
        arrays |= _with_prefix(str(number), part)
    return arrays


def _read_member(name: str, member: ModelPart, source: _Source) -> Arrays:
    try:
        return _read_part(member.family, source._replace(model=member.model))
    except Conflict as refusal:
        raise Conflict(f"its member {name}: {refusal}") from None


def _with_prefix(name: str, arrays: Arrays) -> Arrays:
    return {f"{name}.{key}": values for key, values in arrays.items()}


_NAMES = {LOG_ODDS: "log-odds", PROBABILITY: "probabilities", VALUE: "values"}
_READERS: dict[str, Callable[[_Source], Arrays]] = {
    "lightgbm": _read_lightgbm,
    "xgboost": _read_xgboost,
    "catboost": _read_catboost,
    "hist_gradient_boosting": _read_histograms,
    "random_forest": _read_sklearn_forest,
    "extra_trees": _read_sklearn_forest,
    "linear": _read_linear,
    "engineered": _read_engineered,
    "ensemble": _read_ensemble,
}
