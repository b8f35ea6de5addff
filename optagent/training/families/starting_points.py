"""Starting points of families: parameters that were good on public tables, in the order in which a search asks them.

`starting_points.json` beside this file was learned by `tests/performance/automl/learn_starting_points.py`.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from optagent.domain.model import Task
from optagent.training.families.registry import family_named

FILE = "starting_points.json"

StartingPoint = tuple[str, Mapping[str, Any]]
"""Family and parameters."""


def starting_points_of(families: Iterable[str], task: Task) -> tuple[StartingPoint, ...]:
    """The starting points of these families, the one that helps most first; a family without any has none among them.

    Each next one is that which lowers most, for its seconds, the mean over public tables of the best loss so far
    (Feurer et al. 2022, section 4.1; Leskovec et al. 2007), so that what is left out of the order leaves an order that
    covers. A parameter that a family does not have for the task is left out.
    """
    wanted, kind = set(families), "classification" if task.classifies else "regression"
    points = [point for point in _learned_points()[kind] if point[0] in wanted]
    names = {family: set(family_named(family).space(task).names) for family, _ in points}
    return tuple(
        (family, {name: value for name, value in params.items() if name in names[family]}) for family, params in points
    )


@cache
def _learned_points() -> Mapping[str, tuple[StartingPoint, ...]]:
    content = json.loads(files("optagent.training.families").joinpath(FILE).read_text(encoding="utf-8"))
    return {kind: tuple((family, params) for family, params in points) for kind, points in content.items()}
