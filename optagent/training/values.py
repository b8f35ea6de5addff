"""Column values as float32, and the errors that name the column and the value that cannot be one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.arrays import Rows
from optagent.errors import InvalidData
from optagent.training.columns import Kind, kind_of

_DAY_NS = 86_400_000_000_000
_DAY_US = 86_400_000_000


def as_column(values: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    """The column in the one Arrow type of its kind: float64, boolean or text; dates become float64 days since 1970."""
    if kind is Kind.CATEGORICAL:
        return pc.cast(values, pa.large_string()) if values.type != pa.string() else values
    if pt.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    if kind is Kind.BOOLEAN:
        return pc.cast(values, pa.bool_())
    if kind is Kind.DATETIME:
        return days(values)
    return pc.cast(values, pa.float64(), safe=False)


@dataclass(frozen=True, slots=True)
class Coder:
    """Turns the values of one column into numbers, and texts into their positions in `categories`."""

    name: str
    kind: Kind
    categories: Sequence[str] = ()
    other: bool = False

    def fill(self, out: npt.NDArray[np.float32], values: pa.ChunkedArray, rows: Rows | None = None) -> None:
        """Writes the codes or numbers into `out`, NaN where there is none; messages number the rows by `rows`."""
        start = 0
        for chunk in values.chunks:
            numbers = self._numbers(pa.chunked_array([chunk]))
            part = out[start : start + len(numbers)]
            with np.errstate(over="ignore"):
                part[:] = numbers
            infinite = np.isinf(part)
            if infinite.any():
                index = int(np.argmax(infinite))
                row = start + index if rows is None else int(rows[start + index])
                raise InvalidData(f"column {self.name!r}: the number in row {row} is infinite as a 32-bit float")
            start += len(numbers)

    def _numbers(self, values: pa.ChunkedArray) -> npt.NDArray[np.float64]:
        if self.kind is Kind.CATEGORICAL:
            texts = as_column(values, self.kind)
            converted = pc.index_in(texts, value_set=pa.array(self.categories, texts.type))
            if self.other:
                converted = pc.if_else(pc.is_valid(texts), pc.fill_null(converted, len(self.categories)), converted)
        else:
            converted = self._convert(values)
        return pc.fill_null(pc.cast(converted, pa.float64(), safe=False), np.nan).to_numpy()

    def _convert(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """The values in the Arrow type of the kind; raises InvalidData for another kind, such as texts for numbers."""
        kind = kind_of(values.type)
        if values.null_count == len(values):
            return pa.chunked_array([pa.nulls(len(values), pa.float64())])
        if kind is Kind.CATEGORICAL and self.kind is Kind.DATETIME:
            texts = pc.cast(values, pa.string())
            try:
                return days(timestamps(texts))
            except pa.ArrowInvalid:
                raise InvalidData(f"column {self.name!r}: {first_unreadable(texts)} is not a date") from None
        if kind is not self.kind and not {kind, self.kind} <= {Kind.NUMERIC, Kind.BOOLEAN}:
            raise InvalidData(f"column {self.name!r} is {self.kind}, got values of type {values.type}")
        return as_column(values, self.kind)


def timestamps(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts in ISO 8601 as UTC timestamps; raises pyarrow.ArrowInvalid for any other text."""
    try:
        return pc.cast(values, pa.timestamp("us"))
    except pa.ArrowInvalid:
        return pc.cast(values, pa.timestamp("us", "UTC"))


def first_unreadable(texts: pa.ChunkedArray) -> str:
    """The row of the first text that is not a date, for a message, which is kept and shown: it does not quote rows."""
    for row, text in enumerate(texts):
        try:
            timestamps(text)
        except pa.ArrowInvalid:
            return f"the text in row {row}"
    return "a text"


def days(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Days since 1970-01-01 UTC as float64; a time of day as a share of a day, a duration as a number of days."""
    if pt.is_time(values.type):
        values = pc.cast(pc.cast(values, pa.time64("us")), pa.int64())
        return pc.divide(pc.cast(values, pa.float64(), safe=False), float(_DAY_US))
    if pt.is_date(values.type):
        values = pc.cast(values, pa.timestamp("s"))
    per_day = {"s": 86_400.0, "ms": 86_400_000.0, "us": float(_DAY_US), "ns": float(_DAY_NS)}[values.type.unit]
    return pc.divide(pc.cast(pc.cast(values, pa.int64()), pa.float64(), safe=False), per_day)
