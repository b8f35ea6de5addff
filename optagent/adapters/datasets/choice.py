"""Column choice: the columns that a read gives."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from optagent.errors import InvalidData
from optagent.training.columns import kind_of, require_columns


def choose_columns(schema: pa.Schema, columns: Sequence[str] | None, where: str) -> list[str]:
    """The names to read: those asked for, or every column of a supported type.

    Raises InvalidData for duplicate names in the data, for unknown names, and for a named column of unsupported type.
    """
    refuse_duplicates(schema.names, where)
    if columns is None:
        names = [field.name for field in schema if kind_of(field.type) is not None]
        if not names:
            raise InvalidData(f"{where}: no column of a supported type among {schema.names}")
        return names
    names = list(dict.fromkeys(columns))
    if not names:
        raise InvalidData(f"{where}: an empty list of columns was asked for")
    require_columns(names, schema.names, where)
    for name in names:
        if kind_of(schema.field(name).type) is None:
            raise InvalidData(f"{where}: column {name!r} is of type {schema.field(name).type}, which is not supported")
    return names


def refuse_duplicates(names: Sequence[str], where: str) -> None:
    """Raises InvalidData for data in which two columns have the same name."""
    duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
    if duplicates:
        raise InvalidData(f"{where}: duplicate column names {duplicates}")
