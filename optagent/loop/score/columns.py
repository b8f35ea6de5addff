"""Column plan of a batch scoring: what is read of a file, what is carried over to the output, and what is left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.errors import InvalidData, InvalidRequest
from optagent.training.columns import LONGEST_NAME, Kind, require_columns
from optagent.training.encoding import Schema
from optagent.training.history.sent import columns_to_send

ID, VERSION = "id", "version"
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """The columns to `read` with the kinds of the features, the `features`, and those `carried` over to the output.

    `has_ids` says that the column `id` names rows: it is no feature. `ignored` are in the file and not read.
    """

    read: Mapping[str, Kind | None]
    features: tuple[str, ...]
    carried: tuple[str, ...]
    has_ids: bool
    ignored: tuple[str, ...]

    def notes(self) -> tuple[str, ...]:
        """A sentence about the columns that are left out; none where there are none."""
        if not self.ignored:
            return ()
        shown = ", ".join(repr(name[:LONGEST_NAME]) for name in self.ignored[:_SHOWN])
        rest = f" and {len(self.ignored) - _SHOWN:,} more" if len(self.ignored) > _SHOWN else ""
        return (f"columns that the model does not use are ignored: {shown}{rest}",)


def plan_columns(
    names: Sequence[str], schema: Schema, asked: Sequence[str] | None, answers: Sequence[str], where: str, record: bool
) -> ColumnPlan:
    """The plan for a file with columns of these names.

    `asked` are the columns that the user wants in the output, by default `id` where the file has it. `answers` are
    those that the output gets. Raises InvalidData, which names each column that is missing, and InvalidRequest for a
    column asked for that has the name of an answer.
    """
    present = set(names)
    needed = columns_to_send(schema)
    missing = [name for name in needed if name not in present]
    if missing:
        shown = ", ".join(repr(name[:LONGEST_NAME]) for name in missing[:_SHOWN])
        rest = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
        raise InvalidData(f"{where}: the model needs columns that are missing: {shown}{rest}")
    has_ids = ID in present and ID not in schema.names
    carried = tuple(dict.fromkeys(asked)) if asked is not None else (ID,) * has_ids
    require_columns(carried, names, f"{where}: --columns")
    clashes = [name for name in carried if name in answers]
    if clashes:
        raise InvalidRequest(f"--columns: {clashes[0]!r} is the name of an answer, which the output has by itself")
    read: dict[str, Kind | None] = {column.name: column.kind for column in schema.columns if column.name in present}
    read.update({name: needed[name] for name in needed if name not in read})
    further = (*carried, ID) if record and has_ids else carried
    read.update({name: None for name in further if name not in read})
    ignored = tuple(name for name in names if name not in read and name != schema.target)
    key = schema.history and schema.history.key
    features = tuple(dict.fromkeys((*schema.names, *((key,) if key else ()))))
    return ColumnPlan(read, features, carried, has_ids, ignored)


def carry_columns(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """These columns of a table, with the values of dictionaries written out."""
    carried = table.select(list(names))
    for at, field in enumerate(carried.schema):
        if pt.is_dictionary(field.type):
            carried = carried.set_column(at, field.name, carried[field.name].cast(field.type.value_type))
    return carried


def read_ids(table: pa.Table, first: int) -> Sequence[str]:
    """The ids of rows as texts, by the rules of a gateway's request; `first` is the number of the first row."""
    ids = table[ID]
    if not (pt.is_integer(ids.type) or pt.is_string(ids.type) or pt.is_large_string(ids.type)):
        raise InvalidData(f"column {ID!r}: a text or whole number is needed to record rows, got {ids.type}")
    texts: list[str | None] = ids.cast(pa.large_string()).to_pylist()
    for row, text in enumerate(texts, first):
        if text is None or not 0 < len(text) <= LONGEST_NAME:
            raise InvalidData(f"row {row:,}: an id has 1 to {LONGEST_NAME} characters; rows are recorded by it")
    if pc.count_distinct(ids).as_py() < len(texts):
        twice = max(texts, key=Counter(texts).__getitem__)
        raise InvalidData(f"column {ID!r}: {twice!r} stands twice; rows are recorded by it")
    return [text for text in texts if text is not None]
