"""Feature plans as ONNX, computed in 32 bits like the transformer itself."""

from collections.abc import Sequence

import numpy as np

from optagent.errors import InvalidRequest
from optagent.serving.onnx_columns import Levels, gather_columns, look_up, look_up_codes
from optagent.serving.onnx_graph import Graph
from optagent.training.cell_tables import cell_table, level_counts
from optagent.training.plan import FeaturePlan
from optagent.training.steps import CategoryShare, GroupDifference, GroupMean, MissingCount, PairShare, Power, Step
from optagent.training.target_mean import TargetMean

_PAIRS = {"product": "Mul", "ratio": "Div", "difference": "Sub"}


def add_plan(graph: Graph, plan: FeaturePlan, levels: Levels) -> str:
    """The columns that a plan makes of the graph's rows; raises InvalidRequest for a step without ONNX operators."""
    place = {name: index for index, name in enumerate(plan.columns)}
    parts = [gather_columns(graph, [place[name] for name in plan.kept_columns])] if plan.kept_columns else []
    generated = [_replace_infinite(graph, _add_step(graph, step, place, levels)) for step in plan.steps]
    return graph.add("Concat", *parts, *generated, axis=1)


def _add_step(graph: Graph, step: Step, place: dict[str, int], levels: Levels) -> str:
    def column(name: str) -> str:
        return gather_columns(graph, [place[name]])

    if step.kind in _PAIRS:
        first, second = step.columns
        return graph.add(_PAIRS[step.kind], column(first), column(second))
    if isinstance(step, Power):
        value = column(step.a)
        square = graph.add("Mul", value, value)
        return graph.add("Mul", square, value) if step.degree == 3 else square
    if isinstance(step, GroupMean | GroupDifference):
        means = _look_up(graph, place[step.category], step.means, levels)
        return graph.add("Sub", column(step.number), means) if isinstance(step, GroupDifference) else means
    if isinstance(step, CategoryShare):
        return _look_up(graph, place[step.category], step.shares, levels)
    if isinstance(step, PairShare | TargetMean):
        return _look_up_cell(graph, step, [place[name] for name in step.columns], levels)
    if isinstance(step, MissingCount):
        missing = graph.add("IsNaN", gather_columns(graph, [place[name] for name in step.over]))
        axes = graph.constant(np.array([1], dtype=np.int64))
        return graph.add("ReduceSum", graph.cast(missing, 32), axes, keepdims=1)
    raise InvalidRequest(f"the step {step.name!r} of its plan has no ONNX form")


def _look_up(graph: Graph, source: int, numbers: Sequence[float], levels: Levels) -> str:
    table = np.full((max(levels[source], len(numbers)) + 1, 1), np.nan, dtype=np.float32)
    table[: len(numbers), 0] = numbers
    return look_up_codes(graph, source, table)


def _look_up_cell(graph: Graph, step: PairShare | TargetMean, sources: Sequence[int], levels: Levels) -> str:
    """The number of the row's cell, whose place in the table counts the codes of the last column fastest."""
    known, numbers = level_counts(step), cell_table(step)
    sizes = tuple(max(levels[source], count) for source, count in zip(sources, known, strict=True))
    table = np.full(sizes, numbers[-1])
    table[tuple(slice(count) for count in known)] = numbers[:-1].reshape(known)
    cell, *others = (graph.add("Gather", graph.rows, graph.constant(np.int64(source)), axis=1) for source in sources)
    for code, size in zip(others, sizes[1:], strict=True):
        cell = graph.add("Add", graph.add("Mul", cell, graph.constant(np.float32(size))), code)
    return look_up(graph, cell, np.append(table.ravel(), numbers[-1])[:, None])


def _replace_infinite(graph: Graph, value: str) -> str:
    infinite = graph.add("IsInf", value)
    return graph.add("Where", infinite, graph.constant(np.float32(np.nan)), value)
