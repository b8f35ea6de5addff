"""Stream of the arena: rows in time order in blocks, whose labels are known one block late."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from optagent.arrays import Matrix, Vector
from optagent.domain.duration import seconds
from optagent.training.encoding import encode_target, target_schema
from optagent.training.row_times import instants
from tests.performance.histories import Told

FIRST_SHARE = 0.2
"""The share of the rows that the first model learns from."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that are answered together, `known` rows whose labels have come by then, the newest block among them."""

    rows: slice
    known: int
    newest: slice


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """`x` (rows, columns), of which those in `categorical` hold codes, and `y` (rows,) of 0 and 1. Like the matrices of
    the product, `x` is of single precision, so that the first model of all entrants is the same.

    `number` (rows,) is the number of the block of each row, ascending; numbers without rows are left out. Rows from
    block `first` on are answered. `history` holds the same rows as a table, for replays, and begins where `first` does.
    """

    name: str
    x: Matrix
    y: Vector
    columns: tuple[str, ...]
    categorical: tuple[int, ...]
    number: npt.NDArray[np.int64]
    first: int
    block: str
    history: Told

    @property
    def start(self) -> int:
        """The first row that is answered."""
        return int(np.searchsorted(self.number, self.first))

    def blocks(self) -> Iterator[Block]:
        """The blocks that are answered, in order; labels of all blocks before the previous one are known by then."""
        for number in np.unique(self.number[self.start :]).tolist():
            begin, end = np.searchsorted(self.number, [number, number + 1]).tolist()
            known = int(np.searchsorted(self.number, number - 1))
            newest = int(np.searchsorted(self.number, self.number[known - 1]))
            yield Block(slice(begin, end), known, slice(newest, known))


def stream_of(name: str, history: Told, block: str, most_blocks: int | None = None) -> Stream:
    """The stream of a history, in blocks of that duration: its first fifth is learned from, the rest is answered."""
    table, time = _sort_by_time(history)
    number = np.floor(time / seconds(block)).astype(np.int64)
    if most_blocks is not None:
        rows = int(np.searchsorted(number, number[0] + most_blocks))
        table, number = table.slice(0, rows), number[:rows]
    first = int(number[int(len(number) * FIRST_SHARE)])
    begins = np.datetime64(int(first * seconds(block)), "s")
    names = [each for each in table.schema.names if each not in (history.spec.target, history.spec.time_column)]
    columns = [_column_of(table, each) for each in names]
    categorical = tuple(place for place, each in enumerate(names) if not _is_number(table.schema.field(each).type))
    y, _ = encode_target(table, target_schema(table, history.spec))
    history = replace(history, table=table, start=str(begins))
    return Stream(name, np.column_stack(columns), y, tuple(names), categorical, number, first, block, history)


def _sort_by_time(history: Told) -> tuple[pa.Table, Vector]:
    time = instants(history.table, history.spec)
    assert time is not None
    order = np.argsort(time, kind="stable")
    return history.table.take(pa.array(order)).combine_chunks(), time[order]


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _column_of(table: pa.Table, name: str) -> npt.NDArray[np.float32]:
    """(rows,) the numbers of a column, or codes of its texts; NaN where there is none."""
    column = table.column(name)
    if not _is_number(column.type):
        column = pc.dictionary_encode(column).combine_chunks().indices
    return pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)
