"""Models compiled to ONNX graphs of the library's own, in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.serving.boosted_trees import lightgbm_forest, xgboost_forest
from optagent.serving.engine import Engine
from optagent.serving.evidence import outputs_of
from optagent.serving.onnx_columns import Levels, add_margin, add_tree_columns
from optagent.serving.onnx_engine import INPUT, OnnxEngine
from optagent.serving.onnx_graph import Graph, add_forest
from optagent.serving.sklearn_trees import histogram_forest, sklearn_forest
from optagent.serving.trees import Forest, Link
from optagent.training.predictor import Predictor
from optagent.training.problem import Vector

MOST_NODES = 2_000_000
"""Of a forest, counting a copy for each class: measured, compiling takes some 500 bytes a node at its peak."""


@dataclass(frozen=True, slots=True)
class Compiled:
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


def compile_onnx(predictor: Predictor) -> Compiled:
    """The predictor's model as an ONNX engine, made from the loaded model: no file is read, nothing is unpickled.

    That its answers are the same is for `parity` to find out.
    """
    family, task = predictor.manifest.family, predictor.manifest.task
    compiler = _COMPILERS.get(family)
    if compiler is None:
        return Compiled(None, f"the family {family} has no ONNX form")
    columns = predictor.schema.columns
    outputs = outputs_of(task, predictor.manifest.classes)
    work = _Work(predictor.model, task, outputs, [column.levels for column in columns])
    try:
        model, thresholds = compiler(work)
        engine = OnnxEngine(model, len(columns), outputs)
    except Exception as error:  # Whatever a library's inside or ONNX Runtime says: the model itself still serves.
        said = str(error).strip().splitlines() or [type(error).__name__]
        return Compiled(None, f"{family} does not compile to ONNX: {said[0][:300]}")
    return Compiled(engine, f"{family} compiled to ONNX, {len(model) / 1e6:.1f} MB", thresholds, model)


def _lightgbm(work: _Work) -> tuple[bytes, Mapping[int, Vector]]:
    return _trees(work, lightgbm_forest(work.model._booster, work.task, work.outputs))


def _xgboost(work: _Work) -> tuple[bytes, Mapping[int, Vector]]:
    return _trees(work, xgboost_forest(work.model._booster, work.task, work.outputs))


def _histograms(work: _Work) -> tuple[bytes, Mapping[int, Vector]]:
    levels = max(work.levels, default=0)
    return _trees(work, histogram_forest(work.model._estimator, work.task, work.outputs, levels))


def _forest(work: _Work) -> tuple[bytes, Mapping[int, Vector]]:
    """The trees of a forest split what its columns became, which is made first."""
    columns, estimator = work.model._estimator["columns"], work.model._estimator["model"]
    graph = Graph(len(work.levels))
    seen, place = add_tree_columns(graph, columns, work.levels)
    found = _small(sklearn_forest(estimator, work.task, work.outputs))
    moved = tuple(replace(tree, column=place[np.maximum(tree.column, 0)]) for tree in found.trees)
    numbers = [column for column, levels in enumerate(work.levels) if not levels]  # they stand first, in their order
    by_value = replace(found, trees=moved).thresholds()
    thresholds = {numbers[column]: values for column, values in by_value.items() if column < len(numbers)}
    scores = add_forest(graph, replace(found, trees=moved), seen)
    return graph.model(scores, work.outputs), thresholds


def _linear(work: _Work) -> tuple[bytes, Mapping[int, Vector]]:
    columns, estimator = work.model._estimator["columns"], work.model._estimator["model"]
    weights = np.atleast_2d(estimator.coef_).T.astype(np.float64)
    intercept = np.atleast_1d(estimator.intercept_).astype(np.float64)
    graph = Graph(len(work.levels))
    margin = add_margin(graph, columns, weights, intercept, work.levels)
    link = {Task.BINARY: Link.SIGMOID, Task.MULTICLASS: Link.SOFTMAX, Task.REGRESSION: Link.IDENTITY}[work.task]
    return graph.model(graph.linked(margin, link), work.outputs), {}


def _trees(work: _Work, forest: Forest) -> tuple[bytes, Mapping[int, Vector]]:
    graph = Graph(len(work.levels))
    return graph.model(add_forest(graph, _small(forest), INPUT), work.outputs), forest.thresholds()


def _small(forest: Forest) -> Forest:
    nodes = sum(len(tree.column) for tree in forest.trees)
    if nodes > MOST_NODES:
        raise InvalidRequest(f"{nodes:,} nodes, the limit is {MOST_NODES:,}")
    return forest


_Compiler = Callable[[_Work], tuple[bytes, Mapping[int, Vector]]]
_COMPILERS: dict[str, _Compiler] = {
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "random_forest": _forest,
    "extra_trees": _forest,
    "hist_gradient_boosting": _histograms,
    "linear": _linear,
}
