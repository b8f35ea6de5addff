"""Candidate starting points of a family: its defaults, then quasi-random points of its own search space."""

from collections.abc import Mapping
from typing import Any

from scipy.stats import qmc

from optagent.domain.model import Task
from optagent.domain.space import Categorical, Int, Parameter
from optagent.training.families.family import Family

COUNTS = {"extra_trees": 30, "linear": 22, "catboost": 30}
_SEED = 0
_DIGITS = 4


def candidates_of(family: Family, task: Task) -> list[Mapping[str, Any]]:
    """Settings of all parameters, the same at each call, forty or as `COUNTS` says; the defaults come first (Sobol
    1967, scrambled)."""
    count = COUNTS.get(family.name, 40)
    space = list(family.space(task))
    cube = qmc.Sobol(len(space), rng=_SEED).random_base2((count - 1).bit_length())[: count - 1]
    drawn = [{item.name: _value(item, float(at)) for item, at in zip(space, point, strict=True)} for point in cube]
    return [dict(family.defaults(task)), *drawn]


def _value(item: Parameter, at: float) -> Any:
    """The value at that share of a parameter's range, on its own scale; real numbers have four digits."""
    if isinstance(item, Categorical):
        return item.choices[min(int(at * len(item.choices)), len(item.choices) - 1)]
    value = item.low * (item.high / item.low) ** at if item.log else item.low + at * (item.high - item.low)
    if isinstance(item, Int):
        return min(max(round(value), item.low), item.high)
    return min(max(float(f"{value:.{_DIGITS}g}"), item.low), item.high)
