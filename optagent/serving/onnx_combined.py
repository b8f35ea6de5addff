"""Ensembles as ONNX: the scores of the members, already in the graph, are combined into one answer."""

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


def add_combined(graph: Graph, combined: Combined, member_scores: Sequence[str]) -> str:
    """The answer of an ensemble from the scores of its members in order; sums are taken in the same order."""
    if isinstance(combined, WeightedMean):
        total = _weighted_sum(graph, combined.weights, member_scores)
        return graph.add("Min", total, graph.constant(np.float64(1.0))) if combined.task.classifies else total
    if isinstance(combined, Stack) and not combined.columns:
        inputs = [_stack_input(graph, combined.task, scores) for scores in member_scores]
        outputs = _weighted_sum(graph, combined.weights, inputs)
        outputs = graph.add("Add", outputs, graph.constant(np.asarray(combined.intercepts, dtype=np.float64)))
        return graph.add_link(outputs, _LINKS[combined.task])
    raise InvalidRequest(f"an ensemble by {combined.kind}{' with features' * isinstance(combined, Stack)}")


def _weighted_sum(graph: Graph, weights: Sequence[float], member_scores: Sequence[str]) -> str:
    parts = [
        graph.add("Mul", scores, graph.constant(np.float64(weight)))
        for weight, scores in zip(weights, member_scores, strict=True)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = graph.add("Add", total, part)
    return total


def _stack_input(graph: Graph, task: Task, scores: str) -> str:
    """The input of a stack, as `stacked_input` computes it."""
    if task is Task.REGRESSION:
        return scores
    clipped = graph.add("Clip", scores, graph.constant(np.float64(CLIP)), graph.constant(np.float64(1 - CLIP)))
    if task is Task.MULTICLASS:
        return graph.add("Log", clipped)
    complement = graph.add("Sub", graph.constant(np.float64(1.0)), clipped)
    return graph.add("Sub", graph.add("Log", clipped), graph.add("Log", complement))
