"""Column kinds: the Arrow types that are understood, and the refusal of column names that a table lacks."""

import difflib
from collections.abc import Sequence
from enum import StrEnum

import pyarrow as pa
import pyarrow.types as pt

from optagent.errors import InvalidData

LONGEST_NAME = 200
"""Characters of a name that a message shows. Longer names are no misspelling of a column, and are not compared."""

_LISTED = 50
_MOST_COMPARED = 100_000  # characters of all columns and of the name, multiplied: some milliseconds


class Kind(StrEnum):
    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    CATEGORICAL = "categorical"
    DATETIME = "datetime"


def kind_of(arrow_type: pa.DataType) -> Kind | None:
    """The kind that a column is read as; None for a type that is not supported. A column of nulls counts as numeric.

    >>> kind_of(pa.decimal128(10, 2)), kind_of(pa.list_(pa.int8()))
    (<Kind.NUMERIC: 'numeric'>, None)
    """
    if pt.is_dictionary(arrow_type):
        return None if kind_of(arrow_type.value_type) is None else Kind.CATEGORICAL
    if pt.is_boolean(arrow_type):
        return Kind.BOOLEAN
    if pt.is_integer(arrow_type) or pt.is_floating(arrow_type) or pt.is_decimal(arrow_type) or pt.is_null(arrow_type):
        return Kind.NUMERIC
    if pt.is_string(arrow_type) or pt.is_large_string(arrow_type) or pt.is_string_view(arrow_type):
        return Kind.CATEGORICAL
    if pt.is_temporal(arrow_type) and not pt.is_interval(arrow_type):
        return Kind.DATETIME
    return None


def require_columns(names: Sequence[str], columns: Sequence[str], where: str) -> None:
    """Raises InvalidData for a name that is not among `columns`; the message lists these, close matches first."""
    present = set(columns)
    for name in names:
        if name not in present:
            close = _close_matches(name, columns)
            listing = [*close, *(other for other in columns if other not in close)]
            rest = f" and {len(listing) - _LISTED} more" if len(listing) > _LISTED else ""
            shown = [other[:LONGEST_NAME] for other in listing[:_LISTED]]
            raise InvalidData(f"{where}: no column {name[:LONGEST_NAME]!r}; the columns are {shown}{rest}")


def _close_matches(name: str, columns: Sequence[str]) -> list[str]:
    """The columns that the name may be a misspelling of; none where the comparison would take long."""
    if len(name) > LONGEST_NAME or len(name) * sum(map(len, columns)) > _MOST_COMPARED:
        return []
    return difflib.get_close_matches(name, columns, n=3)
