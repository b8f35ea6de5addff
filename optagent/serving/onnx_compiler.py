"""ONNX compiler: fitted models as ONNX engines, made in memory by converters of this package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from optagent.arrays import Vector
from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.serving.boosted_trees import lightgbm_forest, xgboost_forest
from optagent.serving.engine import Engine
from optagent.serving.evidence_record import count_outputs
from optagent.serving.oblivious_trees import catboost_forest
from optagent.serving.onnx_columns import Levels, add_margin, add_tree_columns
from optagent.serving.onnx_combined import add_combined
from optagent.serving.onnx_engine import OnnxEngine
from optagent.serving.onnx_graph import Graph, add_forest
from optagent.serving.onnx_oblivious import add_oblivious_forest
from optagent.serving.onnx_plan import add_plan
from optagent.serving.sklearn_trees import histogram_forest, sklearn_forest
from optagent.serving.trees import Forest, LinkFunction
from optagent.training.families.parts import ModelPart
from optagent.training.predictor import Predictor

MOST_NODES = 2_000_000
"""Of a forest, counting a copy for each class: compiling takes some 500 bytes a node at its peak (measured)."""


@dataclass(frozen=True, slots=True)
class CompiledEngine:
    """The engine, or None with the reason; `thresholds` by column are the values where an engine is easily wrong.

    `graph` is the serialized model of the engine, for other processes.
    """

    engine: Engine | None
    reason: str
    thresholds: Mapping[int, Vector] = field(default_factory=dict)
    graph: bytes = b""


@dataclass(frozen=True, slots=True)
class _CompilerInput:
    """The input of a compiler: a fitted model and the shape of its rows and answers."""

    model: Any
    task: Task
    outputs: int
    levels: Levels


def compile_onnx(predictor: Predictor) -> CompiledEngine:
    """The predictor's model as an ONNX engine, made from the loaded model: no file is read, nothing is unpickled.

    It is not checked here that its answers are the same; `parity` does that.
    """
    family, task = predictor.manifest.family, predictor.manifest.task
    compiler = _COMPILERS.get(family)
    if compiler is None:
        return CompiledEngine(None, f"the family {family} has no ONNX form")
    columns = predictor.schema.columns
    outputs = count_outputs(task, predictor.manifest.classes)
    source = _CompilerInput(predictor.model, task, outputs, [column.levels for column in columns])
    graph = Graph(len(columns))
    try:
        scores, thresholds = compiler(graph, source)
        model = graph.model(scores, outputs)
        engine = OnnxEngine(model, len(columns), outputs)
    except Exception as error:  # Whatever a library or ONNX Runtime raises: the model itself still serves.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return CompiledEngine(None, f"{family} does not compile to ONNX: {lines[0][:300]}")
    return CompiledEngine(engine, f"{family} compiled to ONNX, {len(model) / 1e6:.1f} MB", thresholds, model)


_Scores = tuple[str, Mapping[int, Vector]]
"""The name of a model's scores in the graph, and its thresholds by column."""


def _add_lightgbm(graph: Graph, source: _CompilerInput) -> _Scores:
    return _add_trees(graph, lightgbm_forest(source.model._booster, source.task, source.outputs))


def _add_xgboost(graph: Graph, source: _CompilerInput) -> _Scores:
    return _add_trees(graph, xgboost_forest(source.model._booster, source.task, source.outputs))


def _add_catboost(graph: Graph, source: _CompilerInput) -> _Scores:
    forest = catboost_forest(source.model, source.task, source.outputs, source.levels)
    _check_count(forest.leaves.size)
    return add_oblivious_forest(graph, forest, source.levels), forest.thresholds_by_column(len(source.levels))


def _add_histograms(graph: Graph, source: _CompilerInput) -> _Scores:
    levels = max(source.levels, default=0)
    return _add_trees(graph, histogram_forest(source.model._estimator, source.task, source.outputs, levels))


def _add_sklearn_forest(graph: Graph, source: _CompilerInput) -> _Scores:
    """The trees of a forest split preprocessed columns, which are added first."""
    columns, estimator = source.model._estimator["columns"], source.model._estimator["model"]
    tree_columns, place = add_tree_columns(graph, columns, source.levels)
    forest = _check_size(sklearn_forest(estimator, source.task, source.outputs))
    moved_trees = tuple(replace(tree, column=place[np.maximum(tree.column, 0)]) for tree in forest.trees)
    numbers = [column for column, levels in enumerate(source.levels) if not levels]  # they come first, in their order
    by_value = replace(forest, trees=moved_trees).thresholds()
    thresholds = {numbers[column]: values for column, values in by_value.items() if column < len(numbers)}
    return add_forest(graph, replace(forest, trees=moved_trees), tree_columns), thresholds


def _add_linear(graph: Graph, source: _CompilerInput) -> _Scores:
    columns, estimator = source.model._estimator["columns"], source.model._estimator["model"]
    weights = np.atleast_2d(estimator.coef_).T.astype(np.float64)
    intercept = np.atleast_1d(estimator.intercept_).astype(np.float64)
    margin = add_margin(graph, columns, weights, intercept, source.levels)
    link = {
        Task.BINARY: LinkFunction.SIGMOID,
        Task.MULTICLASS: LinkFunction.SOFTMAX,
        Task.REGRESSION: LinkFunction.IDENTITY,
    }[source.task]
    return graph.add_link(margin, link), {}


def _add_ensemble(graph: Graph, source: _CompilerInput) -> _Scores:
    parts = [_add_part(graph, member, source) for member in source.model.members.values()]
    thresholds = [by_column for _, by_column in parts]
    columns = sorted({column for by_column in thresholds for column in by_column})
    merged = {
        column: np.unique(np.concatenate([by_column[column] for by_column in thresholds if column in by_column]))
        for column in columns
    }
    return add_combined(graph, source.model.combined, [scores for scores, _ in parts]), merged


def _add_engineered(graph: Graph, source: _CompilerInput) -> _Scores:
    """The inner model takes the columns that the plan makes; its thresholds of generated columns are left out."""
    plan, rows = source.model.plan, graph.rows
    place = {name: index for index, name in enumerate(plan.columns)}
    kept_columns = [place[name] for name in plan.kept_columns]
    levels = [*(source.levels[index] for index in kept_columns), *(0 for _ in plan.steps)]
    graph.rows = add_plan(graph, plan, source.levels)
    scores, thresholds = _add_part(graph, source.model.inner, replace(source, levels=levels))
    graph.rows = rows
    return scores, {kept_columns[column]: values for column, values in thresholds.items() if column < len(kept_columns)}


def _add_part(graph: Graph, part: ModelPart, source: _CompilerInput) -> _Scores:
    if part.family not in _COMPILERS:
        raise InvalidRequest(f"its part of the family {part.family} has no ONNX form")
    return _COMPILERS[part.family](graph, replace(source, model=part.model))


def _add_trees(graph: Graph, forest: Forest) -> _Scores:
    return add_forest(graph, _check_size(forest), graph.rows), forest.thresholds()


def _check_size(forest: Forest) -> Forest:
    _check_count(sum(len(tree.column) for tree in forest.trees))
    return forest


def _check_count(nodes: int) -> None:
    if nodes > MOST_NODES:
        raise InvalidRequest(f"{nodes:,} nodes, the limit is {MOST_NODES:,}")


_Compiler = Callable[[Graph, _CompilerInput], _Scores]
_COMPILERS: dict[str, _Compiler] = {
    "lightgbm": _add_lightgbm,
    "xgboost": _add_xgboost,
    "catboost": _add_catboost,
    "random_forest": _add_sklearn_forest,
    "extra_trees": _add_sklearn_forest,
    "hist_gradient_boosting": _add_histograms,
    "linear": _add_linear,
    "ensemble": _add_ensemble,
    "engineered": _add_engineered,
}
