"""Family parameters: completed by defaults, refused if the name is unknown, and of the right kind of number."""

from collections.abc import Mapping
from typing import Any

from optagent.domain.model import Task
from optagent.domain.space import Int
from optagent.errors import InvalidRequest
from optagent.training.families.family import Family

OFF = 1e-8
"""The low end of a penalty on a log scale, which has no 0: a penalty at or below it is exactly 0."""


def complete_params(family: Family, task: Task, params: Mapping[str, Any]) -> dict[str, Any]:
    """`params` and the family's defaults for the parameters not named; InvalidRequest for a name outside the space."""
    space = family.space(task)
    unknown = sorted(set(params) - set(space.names))
    if unknown:
        raise InvalidRequest(f"{family.name}: unknown parameter {unknown[0]!r}; one of {sorted(space.names)}")
    complete = {**family.defaults(task), **params}
    for parameter in space:
        value = complete[parameter.name]
        if isinstance(parameter, Int) and isinstance(value, float) and value.is_integer():
            complete[parameter.name] = int(value)
    return complete


def penalty(value: float) -> float:
    """The library's penalty for one searched on a log scale: 0 at or below `OFF`."""
    return 0.0 if value <= OFF else value


def library_seed(seed: int) -> int:
    """A seed that every library accepts: LightGBM stores it in 32 signed bits."""
    return seed % 2**31
