"""Column readers: values of one column from JSON or Python as 32-bit numbers; errors name the row and the column."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from optagent.errors import InvalidData
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn
from optagent.training.values import days, timestamps

Cells = npt.NDArray[np.float32]

LONGEST_TEXT = 65_536
"""Characters (bytes, in Arrow) of a text in a request. Texts among a column's categories may be longer."""

_SHOWN = 200  # characters, and values of a list, that a message is made of
_NONE = type(None)
_NAN = float("nan")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
_DAY_US = 86_400_000_000
_DAY_S = 86_400.0
_LAST_S = 253_402_300_799.0  # the end of the year 9999
_ISO = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII)


class ColumnReader(Protocol):
    """Reads the values of one column; `row` and `first` are row numbers for error messages."""

    def read_one(self, value: Any, row: int) -> float: ...

    def read_many(self, values: Sequence[Any], first: int = 0) -> Cells: ...


def reader_for(column: FeatureColumn) -> ColumnReader:
    """The reader of a column's kind."""
    if column.kind is Kind.CATEGORICAL:
        return _Categories(column)
    return {Kind.NUMERIC: _Numbers, Kind.BOOLEAN: _Booleans, Kind.DATETIME: _Dates}[column.kind](column.name)


class _Numbers:
    """Numbers, with true and false as 1 and 0. A number written as a text is refused."""

    rule = "a number or null"
    plain = frozenset({float, int, bool, _NONE})

    def __init__(self, name: str) -> None:
        self._name = name

    def read_one(self, value: Any, row: int) -> float:
        return float(self.read_many([value], row)[0])

    def read_many(self, values: Sequence[Any], first: int = 0) -> Cells:
        if not self.plain.issuperset(map(type, values)):
            values = [self._plain_number(value, first + at) for at, value in enumerate(values)]
        try:
            numbers = np.array(values, dtype=np.float64)
        except OverflowError:
            numbers = np.array([_float_or_infinity(value) for value in values])
        with np.errstate(over="ignore"):
            cells = numbers.astype(np.float32)
        endless = np.isinf(cells)
        if endless.any():
            at = int(np.argmax(endless))
            self._refuse(values[at], first + at, "a finite 32-bit number")
        return cells

    def _plain_number(self, value: Any, row: int) -> Any:
        if type(value) in self.plain:
            return value
        if isinstance(value, np.generic):
            return self._plain_number(value.item(), row)
        return float(value) if isinstance(value, Decimal) else self._refuse(value, row, self.rule)

    def _refuse(self, value: Any, row: int, rule: str) -> Any:
        raise InvalidData(
            f"row {row}: column {self._name!r} takes {rule}, got {type(value).__name__} {_short_repr(value)}"
        )


class _Booleans(_Numbers):
    """true and false, or 1 and 0."""

    rule = "true, false, 1, 0 or null"

    def read_one(self, value: Any, row: int) -> float:
        if value is True or value is False:
            return float(value)
        return _NAN if value is None else super().read_one(value, row)

    def read_many(self, values: Sequence[Any], first: int = 0) -> Cells:
        cells = super().read_many(values, first)
        odd = ~((cells == 0) | (cells == 1) | np.isnan(cells))
        if odd.any():
            at = int(np.argmax(odd))
            self._refuse(values[at], first + at, self.rule)
        return cells


class _Dates(_Numbers):
    """ISO 8601 texts, seconds since 1970, or Python's dates and times, as days since 1970; UTC without a zone."""

    rule = "an ISO 8601 text, seconds since 1970 or null"

    def read_one(self, value: Any, row: int) -> float:
        if type(value) is str:
            if _ISO.fullmatch(value):
                try:
                    return _days_since_1970(datetime.fromisoformat(value))
                except (ValueError, OverflowError):
                    pass
            self._refuse(value, row, self.rule)
        if value is None:
            return _NAN
        if isinstance(value, np.datetime64):
            value = value.astype("datetime64[us]")  # NumPy would turn nanoseconds into a plain number
        if isinstance(value, np.generic):
            value = value.item()
        if type(value) in (int, float):
            if value == value and not -_LAST_S <= value <= _LAST_S:
                self._refuse(value, row, "seconds since 1970, up to the year 9999")
            return float(value) / _DAY_S
        if isinstance(value, datetime):
            return _days_since_1970(value)
        if isinstance(value, date | time | timedelta):
            return float(days(pa.chunked_array([pa.array([value])])).to_numpy()[0])
        return float(self._refuse(value, row, self.rule))

    def read_many(self, values: Sequence[Any], first: int = 0) -> Cells:
        if {str, _NONE}.issuperset(map(type, values)):
            try:
                texts = pa.chunked_array([pa.array(values, pa.string())])
                return pc.fill_null(days(timestamps(texts)), _NAN).to_numpy().astype(np.float32)
            except (pa.ArrowInvalid, UnicodeEncodeError):
                pass  # They are read one by one, to name the row, or because only some of them have a zone.
        return np.array([self.read_one(value, first + at) for at, value in enumerate(values)], dtype=np.float32)


class _Categories:
    """Texts as their position among the categories; numbers and booleans count as the text that Arrow makes of them."""

    def __init__(self, column: FeatureColumn) -> None:
        self._name = column.name
        self._codes: dict[str | None, float] = {text: float(code) for code, text in enumerate(column.categories)}
        self._codes[None] = _NAN
        self._unseen = float(len(column.categories)) if column.other else _NAN

    def read_one(self, value: Any, row: int) -> float:
        if type(value) is not str and value is not None:
            value = self._category_text(value, row)
        code = self._codes.get(value)
        if code is None:
            if len(value) > LONGEST_TEXT:  # None has a code
                self._refuse_length(value, row)
            return self._unseen
        return code

    def read_many(self, values: Sequence[Any], first: int = 0) -> Cells:
        if not {str, _NONE}.issuperset(map(type, values)):
            values = [
                value if type(value) is str or value is None else self._category_text(value, first + at)
                for at, value in enumerate(values)
            ]
        if max(map(len, filter(None, values)), default=0) > LONGEST_TEXT:
            for at, value in enumerate(values):
                if value is not None and len(value) > LONGEST_TEXT and value not in self._codes:
                    self._refuse_length(value, first + at)
        codes, unseen = self._codes.get, self._unseen
        return np.array([codes(value, unseen) for value in values], dtype=np.float32)

    def _category_text(self, value: Any, row: int) -> str | None:
        try:
            return category_text(value)
        except ValueError:
            return self._refuse(value, row)

    def _refuse_length(self, value: str, row: int) -> None:
        rule = f"a text of up to {LONGEST_TEXT:,} characters"
        raise InvalidData(f"row {row}: column {self._name!r} takes {rule}, got one of {len(value):,}")

    def _refuse(self, value: Any, row: int) -> str:
        value_text = f"{type(value).__name__} {_short_repr(value)}"
        raise InvalidData(f"row {row}: column {self._name!r} takes a text or null, got {value_text}")


def category_text(value: Any) -> str | None:
    """The text of a value among categories, None for a missing value; raises ValueError for one that has no text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return str(value)
    if value is None or (type(value) is float and value != value):
        return None
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int and value.bit_length() < 64:
        return str(value)
    if type(value) is float and np.isfinite(value):
        return str(pa.scalar(value).cast(pa.string()).as_py())
    raise ValueError(f"no text: {type(value).__name__}")


def microseconds(value: Any) -> int | None:
    """A date in a form that the readers take from JSON, in microseconds since 1970; None for a missing one."""
    if value is None:
        return None
    if isinstance(value, str):
        return round(_days_since_1970(datetime.fromisoformat(value)) * _DAY_US)
    return round(float(value) * 1e6)


def _days_since_1970(moment: datetime) -> float:
    since = moment - (_EPOCH if moment.tzinfo else _NAIVE_EPOCH)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) / _DAY_US


def _float_or_infinity(value: Any) -> float:
    try:
        return _NAN if value is None else float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def value_repr(value: Any) -> str:
    """The value as Python writes it, as far as a message needs it, or a note of why Python cannot."""
    try:
        return repr(_cut(value))
    except ValueError:  # an integer with more digits than Python writes out
        return "of too many digits"
    except RecursionError:
        return "of too many levels"


def _cut(value: Any, levels: int = 4) -> Any:
    """The beginning of a value, so that the work of showing it does not grow with it."""
    if isinstance(value, str | bytes):
        return value[:_SHOWN]
    if isinstance(value, list | tuple | dict) and not levels:
        return type(value)()
    if isinstance(value, list | tuple):
        return [_cut(item, levels - 1) for item in value[: 2 * levels]]
    if isinstance(value, dict):
        return {_cut(name): _cut(item, levels - 1) for name, item in islice(value.items(), 2 * levels)}
    return value


def _short_repr(value: Any) -> str:
    text = value_repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
