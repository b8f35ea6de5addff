"""Ensembles as ONNX: the answers of the members, which are in the graph already, become one."""

from collections.abc import Sequence

import numpy as np

from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.serving.onnx_graph import Graph
from optagent.serving.trees import LinkFunction
from optagent.training.average import WeightedMean
from optagent.training.combined import Combined
from optagent.training.stack import CLIP, Stack

_LINKS = {
    Task.BINARY: LinkFunction.SIGMOID,
    Task.MULTICLASS: LinkFunction.SOFTMAX,
    Task.REGRESSION: LinkFunction.IDENTITY,
}


def add_combined(graph: Graph, combined: Combined, said: Sequence[str]) -> str:
    """The answer of an ensemble to the scores of its members, in their order; sums are taken in the same order."""
    if isinstance(combined, WeightedMean):
        total = _weighted_sum(graph, combined.weights, said)
        return graph.add("Min", total, graph.constant(np.float64(1.0))) if combined.task.classifies else total
    if isinstance(combined, Stack) and not combined.columns:
        heard = [_heard(graph, combined.task, scores) for scores in said]
        outputs = _weighted_sum(graph, combined.weights, heard)
        outputs = graph.add("Add", outputs, graph.constant(np.asarray(combined.intercepts, dtype=np.float64)))
        return graph.linked(outputs, _LINKS[combined.task])
    raise InvalidRequest(f"an ensemble by {combined.kind}{' with features' * isinstance(combined, Stack)}")


def _weighted_sum(graph: Graph, weights: Sequence[float], said: Sequence[str]) -> str:
    parts = [
        graph.add("Mul", scores, graph.constant(np.float64(weight)))
        for weight, scores in zip(weights, said, strict=True)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = graph.add("Add", total, part)
    return total


def _heard(graph: Graph, task: Task, scores: str) -> str:
    """As `stacked_input`."""
    if task is Task.REGRESSION:
        return scores
    clipped = graph.add("Clip", scores, graph.constant(np.float64(CLIP)), graph.constant(np.float64(1 - CLIP)))
    if task is Task.MULTICLASS:
        return graph.add("Log", clipped)
    other = graph.add("Sub", graph.constant(np.float64(1.0)), clipped)
    return graph.add("Sub", graph.add("Log", clipped), graph.add("Log", other))
