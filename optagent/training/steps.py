"""Steps of a feature plan: each computes one column of a row from its encoded columns. Plain data, stored as JSON."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from optagent.errors import InvalidRequest
from optagent.training.target_mean import TargetMean

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
        _check_finite(self.name, self.means, "mean")

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
        _check_finite(self.name, self.means, "mean")

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


@dataclass(frozen=True, slots=True)
class CategoryShare:
    """The share of the rows that are of the row's category, by code; `shares` are empty until they are fitted."""

    category: str
    shares: tuple[float, ...] = ()
    kind: Literal["category_share"] = "category_share"

    def __post_init__(self) -> None:
        _check_finite(self.name, self.shares, "share")

    @property
    def name(self) -> str:
        return f"share of {self.category}"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.category,)


@dataclass(frozen=True, slots=True)
class PairShare:
    """The share of the rows that are of both of the row's categories; `shares` go by the code of `a`, then of `b`."""

    a: str
    b: str
    shares: tuple[tuple[float, ...], ...] = ()
    kind: Literal["pair_share"] = "pair_share"

    def __post_init__(self) -> None:
        for row in self.shares:
            _check_finite(self.name, row, "share")
        if len({len(row) for row in self.shares}) > 1:
            raise InvalidRequest(f"step {self.name!r}: shares must be a table, its rows have different lengths")

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of codes of both columns that the table knows."""
        return len(self.shares), len(self.shares[0]) if self.shares else 0

    @property
    def name(self) -> str:
        return f"share of {self.a} and {self.b}"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.a, self.b


@dataclass(frozen=True, slots=True)
class MissingCount:
    """The number of columns that are missing in the row."""

    over: tuple[str, ...]
    kind: Literal["missing_count"] = "missing_count"

    def __post_init__(self) -> None:
        if len(set(self.over)) != len(self.over) or len(self.over) < 2:
            raise InvalidRequest(f"a count of missing values needs at least 2 columns, got {list(self.over)}")

    @property
    def name(self) -> str:
        return "number of missing values"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.over


Step = (
    Product
    | Ratio
    | Difference
    | Power
    | GroupMean
    | GroupDifference
    | CategoryShare
    | PairShare
    | TargetMean
    | Calendar
    | WindowSummary
    | MissingCount
)
AnyStep = Annotated[Step, Field(discriminator="kind")]
FITTED = (GroupMean, GroupDifference, CategoryShare, PairShare, TargetMean)
"""The steps that hold numbers learned from rows."""


def is_unfitted(step: Step) -> bool:
    """True for a step whose numbers have not been learned yet."""
    if isinstance(step, GroupMean | GroupDifference | TargetMean):
        return not step.means
    return isinstance(step, CategoryShare | PairShare) and not step.shares


def _check_finite(name: str, numbers: Sequence[float], noun: str) -> None:
    odd = [number for number in numbers if not math.isfinite(number)]
    if odd:
        raise InvalidRequest(f"step {name!r}: a {noun} must be finite, got {odd[0]}")
