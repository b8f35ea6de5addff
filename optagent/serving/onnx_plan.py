"""Feature plans as ONNX, computed in 32 bits like the transformer itself."""

import numpy as np

from optagent.errors import InvalidRequest
from optagent.serving.onnx_columns import Levels, gather_columns, look_up_codes
from optagent.serving.onnx_graph import Graph
from optagent.training.plan import FeaturePlan, GroupDifference, GroupMean, Power, Step

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
        source = place[step.category]
        table = np.full((max(levels[source], len(step.means)) + 1, 1), np.nan, dtype=np.float32)
        table[: len(step.means), 0] = step.means
        means = look_up_codes(graph, source, table)
        return graph.add("Sub", column(step.number), means) if isinstance(step, GroupDifference) else means
    raise InvalidRequest(f"the step {step.name!r} of its plan has no ONNX form")


def _replace_infinite(graph: Graph, value: str) -> str:
    infinite = graph.add("IsInf", value)
    return graph.add("Where", infinite, graph.constant(np.float32(np.nan)), value)
