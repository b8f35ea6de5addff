"""Search spaces: named parameters with bounds, which are validated when they are constructed."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from optagent.errors import InvalidRequest

Value = float | int | str | bool | None


def _check_bounds(name: str, low: float, high: float, log: bool) -> None:
    for bound, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidRequest(f"{name}: {bound} must be a finite number, got {value!r}")
    if low >= high:
        raise InvalidRequest(f"{name}: low must be below high, got {low} and {high}")
    if log and low <= 0:
        raise InvalidRequest(f"{name}: a log scale needs low above 0, got {low}")


@dataclass(frozen=True, slots=True)
class Float:
    """A real number between `low` and `high`, both included."""

    name: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.name, self.low, self.high, self.log)


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number between `low` and `high`, both included."""

    name: str
    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.name, self.low, self.high, self.log)
        if self.low != int(self.low) or self.high != int(self.high):
            raise InvalidRequest(f"{self.name}: whole numbers are needed, got {self.low} and {self.high}")


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of `choices`; a single choice fixes the parameter."""

    name: str
    choices: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise InvalidRequest(f"{self.name}: at least one choice is needed")
        if len(set(self.choices)) != len(self.choices):
            raise InvalidRequest(f"{self.name}: choices must differ, got {list(self.choices)}")


Parameter = Float | Int | Categorical


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The parameters that a search varies, in order.

    >>> SearchSpace((Float("learning_rate", 0.01, 0.3, log=True),)).names
    ('learning_rate',)
    """

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise InvalidRequest(f"a parameter is named twice in {list(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def with_overrides(self, overrides: Mapping[str, Any], limits: Mapping[str, tuple[float, float]]) -> "SearchSpace":
        """The space with some parameters narrowed, widened within `limits`, or fixed.

        An override is a mapping with some of `low`, `high` and `log`, a list of choices, or one value.
        """
        for name in overrides:
            if name not in self.names:
                raise InvalidRequest(f"unknown parameter {name!r}; one of {sorted(self.names)}")
        return SearchSpace(
            tuple(
                _check_limits(_override_parameter(parameter, overrides[parameter.name]), limits.get(parameter.name))
                if parameter.name in overrides
                else parameter
                for parameter in self.parameters
            )
        )


def _override_parameter(parameter: Parameter, change: Any) -> Parameter:
    if isinstance(change, Mapping):
        if isinstance(parameter, Categorical):
            raise InvalidRequest(f"{parameter.name}: give a list of choices, got {dict(change)}")
        unknown = sorted(set(change) - {"low", "high", "log"})
        if unknown:
            raise InvalidRequest(f"{parameter.name}: unknown {unknown}; low, high and log are known")
        return replace(parameter, **change)
    choices = tuple(change) if isinstance(change, list | tuple) else (change,)
    for choice in choices:
        if isinstance(parameter, Categorical):
            if choice not in parameter.choices:
                raise InvalidRequest(f"{parameter.name}: unknown choice {choice!r}; one of {list(parameter.choices)}")
        elif isinstance(choice, bool) or not isinstance(choice, int | float):
            raise InvalidRequest(f"{parameter.name}: a number is needed, got {choice!r}")
        elif isinstance(parameter, Int) and choice != int(choice):
            raise InvalidRequest(f"{parameter.name}: a whole number is needed, got {choice!r}")
    return Categorical(parameter.name, choices)


def _check_limits(parameter: Parameter, limit: tuple[float, float] | None) -> Parameter:
    if limit is None:
        return parameter
    values = parameter.choices if isinstance(parameter, Categorical) else (parameter.low, parameter.high)
    for value in values:
        if isinstance(value, int | float) and not limit[0] <= value <= limit[1]:
            raise InvalidRequest(f"{parameter.name}: {value} is outside its legal range {limit[0]} to {limit[1]}")
    return parameter
