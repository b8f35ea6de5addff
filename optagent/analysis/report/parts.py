"""Report parts for any view: sections of sentences, lists and tables of text, and places for plots."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Room(Enum):
    """The space of a view: lines of 80 characters without colour, or a page. The value is the most rows of a table."""

    NARROW = 10
    WIDE = 100

    def emphasize(self, text: str) -> str:
        """The text in capitals where the view has no other means of emphasis."""
        return text.upper() if self is Room.NARROW else text


class Drawing(Enum):
    """A place where a view that can draw shows a plot; the value is its caption."""

    OVER_TIME = "Metrics over time, each with its interval"
    BUSINESS_OVER_TIME = "Means a row over time, each with its interval"
    DRIFT = "Drift by feature, ordered by effect and weight"
    IMPORTANCE = "Share of each feature in what the model looks at"
    CALIBRATION = "Calibration: how often what was predicted came true"


@dataclass(frozen=True, slots=True)
class Table:
    """`marked` are the places of rows that stand out."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Items:
    texts: tuple[str, ...]


Part = str | Items | Table | Drawing
"""A str is a sentence that a view may begin with a capital and end with a full stop."""


@dataclass(frozen=True, slots=True)
class Section:
    """`headline` is the answer in short, `reason` why it is so or not known."""

    title: str
    headline: str = ""
    reason: str = ""
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class TableColumn(Generic[Item]):
    """A column of a table, `only` in a view with such room."""

    heading: str
    cell: Callable[[Item], str]
    only: Room | None = None


Columns = tuple[TableColumn[Item], ...]


def table(
    items: Sequence[Item],
    columns: Columns[Item],
    room: Room,
    marked: Callable[[Item], bool] = lambda item: False,
    of_the_rest: str = "",
) -> tuple[Part, ...]:
    """A table of the items that there is room for, and a sentence on the others; nothing where there are none.

    A last column without any text is left out.
    """
    if not items:
        return ()
    visible = items[: room.value]
    columns_shown = [column for column in columns if column.only in (None, room)]
    if not any(columns_shown[-1].cell(item) for item in visible):
        columns_shown.pop()
    text_table = Table(
        tuple(column.heading for column in columns_shown),
        tuple(tuple(column.cell(item) for column in columns_shown) for item in visible),
        frozenset(place for place, item in enumerate(visible) if marked(item)),
    )
    return (text_table, *rest_sentence(len(items), room.value, of_the_rest))


def rest_sentence(total: int, shown: int, of_the_rest: str = "") -> tuple[str, ...]:
    """A sentence on the items that are not shown; empty where all are."""
    return (f"and {total - shown:,} more{of_the_rest}",) if total > shown else ()
