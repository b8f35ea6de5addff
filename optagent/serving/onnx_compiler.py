"""Models compiled to ONNX graphs of the library's own, in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from optagent.arrays import Vector
from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.serving.boosted_trees import lightgbm_forest, xgboost_forest
from optagent.serving.engine import Engine
from optagent.serving.evidence_record import outputs_of
from optagent.serving.onnx_columns import Levels, add_margin, add_tree_columns
from optagent.serving.onnx_combined import add_combined
from optagent.serving.onnx_engine import OnnxEngine
from optagent.serving.onnx_graph import Graph, add_forest
from optagent.serving.onnx_plan import add_plan
from optagent.serving.sklearn_trees import histogram_forest, sklearn_forest
from optagent.serving.trees import Forest, LinkFunction
from optagent.training.families.parts import ModelPart
from optagent.training.predictor import Predictor

MOST_NODES = 2_000_000
"""Of a forest, counting a copy for each class: measured, compiling takes some 500 bytes a node at its peak."""


@dataclass(frozen=True, slots=True)
class CompiledEngine:
    """The engine, or None with the reason; `thresholds` of each column are where an engine is easily wrong.

    `graph` is what the engine was made of, for other processes.
    """

    engine: Engine | None
    reason: str
    thresholds: Mapping[int, Vector] = field(default_factory=dict)
    graph: bytes = b""


@dataclass(frozen=True, slots=True)
class _Work:
    """What a compiler is given: a fitted model and the shape of its rows and answers."""

    model: Any
    task: Task
    outputs: int
    levels: Levels


def compile_onnx(predictor: Predictor) -> CompiledEngine:
    """The predictor's model as an ONNX engine, made from the loaded model: no file is read, nothing is unpickled.

    That its answers are the same is for `parity` to find out.
    """
    family, task = predictor.manifest.family, predictor.manifest.task
    compiler = _COMPILERS.get(family)
    if compiler is None:
        return CompiledEngine(None, f"the family {family} has no ONNX form")
    columns = predictor.schema.columns
    outputs = outputs_of(task, predictor.manifest.classes)
    work = _Work(predictor.model, task, outputs, [column.levels for column in columns])
    graph = Graph(len(columns))
    try:
        scores, thresholds = compiler(graph, work)
        model = graph.model(scores, outputs)
        engine = OnnxEngine(model, len(columns), outputs)
    except Exception as error:  # Whatever a library's inside or ONNX Runtime says: the model itself still serves.
        said = str(error).strip().splitlines() or [type(error).__name__]
        return CompiledEngine(None, f"{family} does not compile to ONNX: {said[0][:300]}")
    return CompiledEngine(engine, f"{family} compiled to ONNX, {len(model) / 1e6:.1f} MB", thresholds, model)


_Scores = tuple[str, Mapping[int, Vector]]
"""The name of a model's scores in the graph, and its thresholds by column."""


def _lightgbm(graph: Graph, work: _Work) -> _Scores:
    return _trees(graph, lightgbm_forest(work.model._booster, work.task, work.outputs))


def _xgboost(graph: Graph, work: _Work) -> _Scores:
    return _trees(graph, xgboost_forest(work.model._booster, work.task, work.outputs))


def _histograms(graph: Graph, work: _Work) -> _Scores:
    levels = max(work.levels, default=0)
    return _trees(graph, histogram_forest(work.model._estimator, work.task, work.outputs, levels))


def _forest(graph: Graph, work: _Work) -> _Scores:
    """The trees of a forest split what its columns became, which is made first."""
    columns, estimator = work.model._estimator["columns"], work.model._estimator["model"]
    seen, place = add_tree_columns(graph, columns, work.levels)
    found = _small(sklearn_forest(estimator, work.task, work.outputs))
    moved = tuple(replace(tree, column=place[np.maximum(tree.column, 0)]) for tree in found.trees)
    numbers = [column for column, levels in enumerate(work.levels) if not levels]  # they stand first, in their order
    by_value = replace(found, trees=moved).thresholds()
    thresholds = {numbers[column]: values for column, values in by_value.items() if column < len(numbers)}
    return add_forest(graph, replace(found, trees=moved), seen), thresholds


def _linear(graph: Graph, work: _Work) -> _Scores:
    columns, estimator = work.model._estimator["columns"], work.model._estimator["model"]
    weights = np.atleast_2d(estimator.coef_).T.astype(np.float64)
    intercept = np.atleast_1d(estimator.intercept_).astype(np.float64)
    margin = add_margin(graph, columns, weights, intercept, work.levels)
    link = {
        Task.BINARY: LinkFunction.SIGMOID,
        Task.MULTICLASS: LinkFunction.SOFTMAX,
        Task.REGRESSION: LinkFunction.IDENTITY,
    }[work.task]
    return graph.linked(margin, link), {}


def _ensemble(graph: Graph, work: _Work) -> _Scores:
    said, thresholds = [], list[Mapping[int, Vector]]()
    for member in work.model.members.values():
        scores, found = _part(graph, member, work)
        said.append(scores)
        thresholds.append(found)
    columns = sorted({column for found in thresholds for column in found})
    merged = {
        column: np.unique(np.concatenate([found[column] for found in thresholds if column in found]))
        for column in columns
    }
    return add_combined(graph, work.model.combined, said), merged


def _engineered(graph: Graph, work: _Work) -> _Scores:
    """The model inside sees what the plan makes of the rows; its thresholds of generated columns are not told."""
    plan, rows = work.model.plan, graph.rows
    place = {name: index for index, name in enumerate(plan.columns)}
    kept = [place[name] for name in plan.kept]
    levels = [*(work.levels[index] for index in kept), *(0 for _ in plan.steps)]
    graph.rows = add_plan(graph, plan, work.levels)
    scores, thresholds = _part(graph, work.model.inner, replace(work, levels=levels))
    graph.rows = rows
    return scores, {kept[column]: values for column, values in thresholds.items() if column < len(kept)}


def _part(graph: Graph, part: ModelPart, work: _Work) -> _Scores:
    if part.family not in _COMPILERS:
        raise InvalidRequest(f"its part of the family {part.family} has no ONNX form")
    return _COMPILERS[part.family](graph, replace(work, model=part.model))


def _trees(graph: Graph, forest: Forest) -> _Scores:
    return add_forest(graph, _small(forest), graph.rows), forest.thresholds()


def _small(forest: Forest) -> Forest:
    nodes = sum(len(tree.column) for tree in forest.trees)
    if nodes > MOST_NODES:
        raise InvalidRequest(f"{nodes:,} nodes, the limit is {MOST_NODES:,}")
    return forest


_Compiler = Callable[[Graph, _Work], _Scores]
_COMPILERS: dict[str, _Compiler] = {
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "random_forest": _forest,
    "extra_trees": _forest,
    "hist_gradient_boosting": _histograms,
    "linear": _linear,
    "ensemble": _ensemble,
    "engineered": _engineered,
}
