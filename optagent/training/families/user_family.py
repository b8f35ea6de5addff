"""User families: imported by dotted path or entry point, and checked before anything is trained."""

import copy
import importlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from optagent.domain.model import Task
from optagent.domain.space import Categorical, Parameter, SearchSpace
from optagent.errors import InvalidRequest
from optagent.training.families.family import Family

GROUP = "optagent.families"
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_METHODS = ("supports", "space", "defaults", "start", "load")
_FACTS = ("rounds_per_unit", "score_growth", "default_rounds", "limits")


def is_path(name: str) -> bool:
    """True for a name that has the form of a dotted path.

    >>> is_path("package.module:MyFamily"), is_path("lightgbm")
    (True, False)
    """
    return _PATH.fullmatch(name) is not None


def installed_families() -> dict[str, EntryPoint]:
    """The entry points of our group by name; none of them is imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def user_family(name: str) -> Family:
    """The family at a dotted path or entry point, created and checked; its `name` becomes the name used here.

    Raises InvalidRequest, which names the path and the fault.
    """
    target = _import_family(name)
    try:
        family = target() if isinstance(target, type) else target
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InvalidRequest(f"family {name}: it cannot be made without arguments: {reason}") from error
    _check_members(family, name)
    try:
        family = copy.copy(family)
        # A path holds a colon and our names come first, so no user's name can be mistaken for one of ours.
        family.name = name
        _check_answers(family)
    except InvalidRequest as error:
        raise InvalidRequest(f"family {name}: {error}") from None
    except (Exception, SystemExit) as error:
        raise InvalidRequest(f"family {name}: {type(error).__name__}: {error}") from error
    _RESOLVED.add(name)
    return family


_RESOLVED: set[str] = set()


def is_resolved(name: str) -> bool:
    """True where this process has imported that family before."""
    return name in _RESOLVED


def _import_family(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        if not attribute:
            return installed_families()[name].load()
        return getattr(importlib.import_module(module_name), attribute)
    except AttributeError:
        raise InvalidRequest(f"family {name}: the module {module_name} has no {attribute}") from None
    except ModuleNotFoundError as error:
        hint = "is its folder on PYTHONPATH?" if error.name and module_name.startswith(error.name) else "install it"
        raise InvalidRequest(f"family {name}: there is no module {error.name!r}; {hint}") from None
    except (Exception, SystemExit) as error:
        raise InvalidRequest(f"family {name}: its import fails with {type(error).__name__}: {error}") from error


def _check_members(family: Any, name: str) -> None:
    missing = [member for member in _METHODS if not callable(getattr(family, member, None))]
    missing += [member for member in _FACTS if not hasattr(family, member)]
    if missing:
        raise InvalidRequest(
            f"family {name}: a {type(family).__name__} is no family, it lacks {', '.join(missing)};"
            " subclass optagent.training.families.simple_family.SimpleFamily"
        )


def _check_answers(family: Family) -> None:
    for fact in ("rounds_per_unit", "default_rounds"):
        value = getattr(family, fact)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidRequest(f"{fact} must be a whole number of at least 1, got {value!r}")
    if not isinstance(family.score_growth, int | float) or not family.score_growth >= 0:
        raise InvalidRequest(f"score_growth must be a number of at least 0, got {family.score_growth!r}")
    steps = getattr(family, "steps", 0)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise InvalidRequest(f"steps must be a whole number of at least 0, got {steps!r}")
    tasks = [task for task in Task if family.supports(task)]
    if not tasks:
        raise InvalidRequest(f"it does none of {[str(task) for task in Task]}")
    for task in tasks:
        space: Any = family.space(task)
        if not isinstance(space, SearchSpace) or not space.names:
            raise InvalidRequest(f"space({str(task)!r}) must be a SearchSpace of at least one parameter, got {space!r}")
        _check_space(space, family.defaults(task), family.limits, task)


def _check_space(space: SearchSpace, defaults: Any, limits: Any, task: Task) -> None:
    if not isinstance(defaults, Mapping) or set(defaults) != set(space.names):
        names = sorted(defaults) if isinstance(defaults, Mapping) else defaults
        raise InvalidRequest(f"defaults({str(task)!r}) must name {sorted(space.names)}, got {names}")
    if not isinstance(limits, Mapping):
        raise InvalidRequest(f"limits must be a mapping of names to (low, high), got {limits!r}")
    for parameter in space:
        limit = limits.get(parameter.name)
        if limit is not None and not (len(limit) == 2 and limit[0] < limit[1]):
            raise InvalidRequest(f"limits: {parameter.name} must be (low, high), got {limit!r}")
        _check_default(parameter, defaults[parameter.name], limit)
        if limit is not None:
            space.with_overrides({parameter.name: _whole_range(parameter)}, limits)


def _check_default(parameter: Parameter, value: Any, limit: tuple[float, float] | None) -> None:
    """Raises InvalidRequest for a default outside the legal range; it may lie outside the searched range."""
    if isinstance(parameter, Categorical):
        fits = value in parameter.choices
    else:
        low, high = limit or (parameter.low, parameter.high)
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not fits:
        raise InvalidRequest(f"the default {value!r} of {parameter.name} does not fit {parameter}")


def _whole_range(parameter: Parameter) -> Any:
    if isinstance(parameter, Categorical):
        return list(parameter.choices)
    return {"low": parameter.low, "high": parameter.high}
