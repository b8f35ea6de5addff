"""Row reader: rows by name, as JSON brings them, to the matrix of a model; errors name the row, column and rule."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.arrays import Matrix
from optagent.errors import InvalidData, OptAgentError, TooLarge
from optagent.serving.column_readers import LONGEST_TEXT, reader_for, value_repr
from optagent.training.columns import LONGEST_NAME, Kind, require_columns
from optagent.training.encoding import Schema, encode

MOST_ROWS = 10_000
_NUMBERS = frozenset({float, int, bool, type(None)})


class RowReader:
    """Reads rows by a schema, with one reader for each column. Valid rows give what `training.encoding.encode` gives.

    Every column must be present; null and NaN are missing values. Columns that the schema does not have are refused
    unless `ignore_unknown`, but for those that a history is made of.
    """

    def __init__(self, schema: Schema, most_rows: int = MOST_ROWS, ignore_unknown: bool = False) -> None:
        self._schema = schema
        self.most_rows = most_rows
        self._ignore_unknown = ignore_unknown
        self._names = schema.names
        self._known = frozenset(schema.names)
        plan = schema.history
        self._allowed = (
            frozenset[str]() if plan is None else frozenset((plan.key or plan.time, plan.time, *plan.columns))
        )
        self._readers = tuple(reader_for(column) for column in schema.columns)
        self._pick = _make_picker(self._names)
        self._other_readers = tuple(
            (at, reader.read_one)
            for at, (column, reader) in enumerate(zip(schema.columns, self._readers, strict=True))
            if column.kind is not Kind.NUMERIC
        )

    def allow(self, names: Iterable[str]) -> None:
        """Lets rows have columns of these names, which are not read."""
        self._allowed = self._allowed.union(names)

    def read(self, rows: Any) -> Matrix:
        """(rows, columns) from one row (a mapping), a list of rows, columns (a mapping of names to lists), or Arrow."""
        if type(rows) is list:
            return self.read_rows(rows)
        if isinstance(rows, pa.Table | pa.RecordBatch):
            return self.read_table(rows)
        if isinstance(rows, Mapping):
            by_column = bool(rows) and all(isinstance(values, list) for values in rows.values())
            return self.read_columns(rows) if by_column else self.read_row(rows)
        if isinstance(rows, list | tuple):
            return self.read_rows(rows)
        raise InvalidData(f"rows: an object or a list of objects is needed, got {_describe(rows)}")

    def read_row(self, row: Mapping[str, Any], number: int = 0) -> Matrix:
        """One row; `number` is its place in messages."""
        self._check_names(row, f"row {number}")
        return self._read_objects([row], number)

    def read_rows(self, rows: Sequence[Any]) -> Matrix:
        """A list of rows."""
        self._check_count(len(rows))
        for number, row in enumerate(rows):
            if type(row) is not dict and not isinstance(row, Mapping):
                raise InvalidData(f"row {number}: an object of columns and values is needed, got {_describe(row)}")
            if row.keys() != self._known:
                self._check_names(row, f"row {number}")
        return self._read_objects(rows)

    def read_columns(self, columns: Mapping[str, Sequence[Any]]) -> Matrix:
        """Lists of values by column, all of one length."""
        self._check_names(columns, "columns")
        for name in self._names:
            if not isinstance(columns[name], list | tuple):
                raise InvalidData(f"columns: {name!r} needs a list of values, got {_describe(columns[name])}")
        lengths = {name: len(columns[name]) for name in self._names}
        count = lengths[self._names[0]]
        for name, length in lengths.items():
            if length != count:
                raise InvalidData(
                    f"columns: {name!r} has {length} values and {self._names[0]!r} {count}; all need the same number"
                )
        self._check_count(count)
        return self._read_lists(columns, count)

    def read_table(self, table: pa.Table | pa.RecordBatch) -> Matrix:
        """An Arrow table or batch: typed columns, read as training reads them."""
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        names = table.schema.names
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise InvalidData(f"columns: {twice[0][:LONGEST_NAME]!r} stands twice")
        self._check_names(dict.fromkeys(names), "columns")
        self._check_count(table.num_rows)
        try:
            if table.get_total_buffer_size() > LONGEST_TEXT:
                for name in self._names:
                    _check_texts(name, table[name])
            return encode(table, self._schema)
        except OptAgentError:
            raise
        except (pa.ArrowException, ArithmeticError, LookupError, ValueError) as error:  # such as a date of year 10000
            raise InvalidData(f"columns: {str(error)[:LONGEST_NAME]}") from None

    def _read_objects(self, rows: Sequence[Mapping[str, Any]], first: int = 0) -> Matrix:
        """Plain rows at once; all others by the readers of lists, which know the rules and name what breaks one."""
        matrix = self._read_plain_objects(rows, first)
        if matrix is not None:
            return matrix
        return self._read_lists({name: [row[name] for row in rows] for name in self._names}, len(rows), first)

    def _read_plain_objects(self, rows: Sequence[Mapping[str, Any]], first: int = 0) -> Matrix | None:
        """Rows of plain and finite values at once; None for all others, valid or not. `first` numbers the first row."""
        pick = self._pick
        cells = [pick(row) for row in rows]
        for at, read_one in self._other_readers:
            for number, values in enumerate(cells, first):
                values[at] = read_one(values[at], number)
        if not _NUMBERS.issuperset(map(type, chain.from_iterable(cells))):
            return None
        try:
            with np.errstate(over="ignore"):
                out = np.array(cells, dtype=np.float32)
        except OverflowError:
            return None
        return None if np.count_nonzero(np.isinf(out)) else out

    def _read_lists(self, columns: Mapping[str, Sequence[Any]], count: int, first: int = 0) -> Matrix:
        out = np.empty((count, len(self._names)), dtype=np.float32)
        for at, reader in enumerate(self._readers):
            out[:, at] = reader.read_many(columns[self._names[at]], first)
        return out

    def _check_names(self, columns: Mapping[str, Any], where: str) -> None:
        if columns.keys() == self._known:
            return
        for name in self._names:
            if name not in columns:
                raise InvalidData(f"{where}: the column {name!r} is missing; give null where there is no value")
        if not self._ignore_unknown:
            unknown = [name for name in columns if name not in self._known and name not in self._allowed]
            if not unknown:
                return
            odd = unknown[0]
            if not isinstance(odd, str):
                raise InvalidData(f"{where}: names of columns are texts, got {_describe(odd)}")
            require_columns([odd], self._names, where)

    def _check_count(self, count: int) -> None:
        if not count:
            raise InvalidData("rows: there is none")
        if count > self.most_rows:
            raise TooLarge(f"rows: {count:,} in one call, the limit is {self.most_rows:,}")


def _make_picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """A function that returns the values of these columns of a row as a list, also for a single column."""
    if len(names) == 1:
        return lambda row: [row[names[0]]]
    pick = itemgetter(*names)
    return lambda row: list(pick(row))


def _check_texts(name: str, values: pa.ChunkedArray) -> None:
    """Refuses texts that are longer than those of rows may be."""
    kind = values.type.value_type if pt.is_dictionary(values.type) else values.type
    if not (pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind)):
        return
    longest = pc.max(pc.binary_length(values.cast(pa.large_string()))).as_py() or 0
    if longest > LONGEST_TEXT:
        raise InvalidData(f"column {name!r} takes texts of up to {LONGEST_TEXT:,} bytes, got one of {longest:,}")


def _describe(value: Any) -> str:
    text = value_repr(value)
    return f"{type(value).__name__} {text[:40]}{'…' if len(text) > 40 else ''}"
