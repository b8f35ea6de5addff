"""Feature plans: the columns that a model gets besides, or instead of, the encoded ones. Plain data, stored as JSON.

Every step needs one row alone. Lags and rolling windows over earlier rows are left out on purpose: a served row comes
without its history. Where the caller sends lagged values as columns of the row, `WindowSummary` summarises them.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from optagent.errors import InvalidRequest

DatePart = Literal["hour", "weekday", "day", "month", "yearday"]
WindowStatistic = Literal["mean", "range"]


@dataclass(frozen=True, slots=True)
class Product:
    a: str
    b: str
    kind: Literal["product"] = "product"

    @property
    def name(self) -> str:
        return f"{self.a} * {self.b}"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.a, self.b


@dataclass(frozen=True, slots=True)
class Ratio:
    """a / b; missing where b is 0."""

    a: str
    b: str
    kind: Literal["ratio"] = "ratio"

    @property
    def name(self) -> str:
        return f"{self.a} / {self.b}"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.a, self.b


@dataclass(frozen=True, slots=True)
class Difference:
    a: str
    b: str
    kind: Literal["difference"] = "difference"

    @property
    def name(self) -> str:
        return f"{self.a} - {self.b}"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.a, self.b


@dataclass(frozen=True, slots=True)
class Power:
    a: str
    degree: Literal[2, 3]
    kind: Literal["power"] = "power"

    @property
    def name(self) -> str:
        return f"{self.a} ^ {self.degree}"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.a,)


@dataclass(frozen=True, slots=True)
class GroupMean:
    """The mean of a number among the rows of the row's category, by code; `means` are empty until they are fitted."""

    category: str
    number: str
    means: tuple[float, ...] = ()
    kind: Literal["group_mean"] = "group_mean"

    def __post_init__(self) -> None:
        _check_means(self)

    @property
    def name(self) -> str:
        return f"mean of {self.number} by {self.category}"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.category, self.number


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """A number less its mean among the rows of the row's category."""

    category: str
    number: str
    means: tuple[float, ...] = ()
    kind: Literal["group_difference"] = "group_difference"

    def __post_init__(self) -> None:
        _check_means(self)

    @property
    def name(self) -> str:
        return f"{self.number} - mean by {self.category}"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.category, self.number


@dataclass(frozen=True, slots=True)
class Calendar:
    """A part of a date that is encoded as days since 1970: Monday is 0, hours are rounded to quarters."""

    column: str
    part: DatePart
    kind: Literal["calendar"] = "calendar"

    @property
    def name(self) -> str:
        return f"{self.part} of {self.column}"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)


@dataclass(frozen=True, slots=True)
class WindowSummary:
    """The mean, or the range, of columns that hold one quantity at several times; missing where one of them is."""

    over: tuple[str, ...]
    how: WindowStatistic
    kind: Literal["window"] = "window"

    def __post_init__(self) -> None:
        if len(set(self.over)) != len(self.over) or len(self.over) < 2:
            raise InvalidRequest(f"a window needs at least 2 different columns, got {list(self.over)}")

    @property
    def name(self) -> str:
        return f"{self.how} of {', '.join(self.over)}"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.over


Step = Product | Ratio | Difference | Power | GroupMean | GroupDifference | Calendar | WindowSummary
AnyStep = Annotated[Step, Field(discriminator="kind")]
GROUPED = (GroupMean, GroupDifference)


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """From the encoded matrix of `columns` to one of the columns that are not `dropped`, then one column per step.

    Dropped columns are still read: steps may need them.
    """

    columns: tuple[str, ...]
    steps: tuple[AnyStep, ...] = ()
    dropped: tuple[str, ...] = ()
    format: Literal[1] = 1

    def __post_init__(self) -> None:
        columns = set(self.columns)
        for step in self.steps:
            unknown = [name for name in step.columns if name not in columns]
            if unknown:
                raise InvalidRequest(
                    f"step {step.name!r} needs the column {unknown[0]!r}, which the plan does not take"
                )
            if isinstance(step, GROUPED) and not step.means:
                raise InvalidRequest(f"step {step.name!r} has no means: it was not fitted")
        if not set(self.dropped) <= columns:
            raise InvalidRequest(f"dropped: no column {sorted(set(self.dropped) - columns)[0]!r}")
        names = Counter(self.names)
        if len(names) < names.total():
            raise InvalidRequest(f"a plan gives each column once, got {names.most_common(1)[0][0]!r} twice")
        if not names:
            raise InvalidRequest("a plan that drops every column and makes none leaves nothing to learn from")

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """The columns that are passed on as they are."""
        return tuple(name for name in self.columns if name not in self.dropped)

    @property
    def names(self) -> tuple[str, ...]:
        """The output columns, in order."""
        return (*self.kept_columns, *(step.name for step in self.steps))


def _check_means(step: GroupMean | GroupDifference) -> None:
    odd = [mean for mean in step.means if not math.isfinite(mean)]
    if odd:
        raise InvalidRequest(f"step {step.name!r}: a mean must be finite, got {odd[0]}")
