"""Values of one column, as JSON or Python brings them, as 32-bit numbers; a wrong one is refused by row and name."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
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

_NONE = type(None)
_NAN = float("nan")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
_DAY_US = 86_400_000_000
_DAY_S = 86_400.0
_LAST_S = 253_402_300_799.0  # the end of the year 9999
_ISO = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII)


class ColumnReader(Protocol):
    """Reads the values of one column; `row` and `first` are row numbers for messages."""

    def one(self, value: Any, row: int) -> float: ...

    def many(self, values: Sequence[Any], first: int = 0) -> Cells: ...


def reader_for(column: FeatureColumn) -> ColumnReader:
    """The reader of a column's kind."""
    if column.kind is Kind.CATEGORICAL:
        return _Categories(column)
    return {Kind.NUMERIC: _Numbers, Kind.BOOLEAN: _Truths, Kind.DATETIME: _Dates}[column.kind](column.name)


class _Numbers:
    """Numbers, and true and false as 1 and 0. A number in a text is refused."""

    rule = "a number or null"
    plain = frozenset({float, int, bool, _NONE})

    def __init__(self, name: str) -> None:
        self._name = name

    def one(self, value: Any, row: int) -> float:
        return float(self.many([value], row)[0])

    def many(self, values: Sequence[Any], first: int = 0) -> Cells:
        if not self.plain.issuperset(map(type, values)):
            values = [self._number(value, first + at) for at, value in enumerate(values)]
        try:
            numbers = np.array(values, dtype=np.float64)
        except OverflowError:
            numbers = np.array([_float(value) for value in values])
        with np.errstate(over="ignore"):
            cells = numbers.astype(np.float32)
        endless = np.isinf(cells)
        if endless.any():
            at = int(np.argmax(endless))
            self._refuse(values[at], first + at, "a finite 32-bit number")
        return cells

    def _number(self, value: Any, row: int) -> Any:
        if type(value) in self.plain:
            return value
        if isinstance(value, np.generic):
            return self._number(value.item(), row)
        return float(value) if isinstance(value, Decimal) else self._refuse(value, row, self.rule)

    def _refuse(self, value: Any, row: int, rule: str) -> Any:
        raise InvalidData(f"row {row}: column {self._name!r} takes {rule}, got {type(value).__name__} {_cut(value)}")


class _Truths(_Numbers):
    """true and false, or 1 and 0."""

    rule = "true, false, 1, 0 or null"

    def one(self, value: Any, row: int) -> float:
        if value is True or value is False:
            return float(value)
        return _NAN if value is None else super().one(value, row)

    def many(self, values: Sequence[Any], first: int = 0) -> Cells:
        cells = super().many(values, first)
        odd = ~((cells == 0) | (cells == 1) | np.isnan(cells))
        if odd.any():
            at = int(np.argmax(odd))
            self._refuse(values[at], first + at, self.rule)
        return cells


class _Dates(_Numbers):
    """ISO 8601 texts, seconds since 1970, or Python's dates and times; as days since 1970, UTC where no zone stands."""

    rule = "an ISO 8601 text, seconds since 1970 or null"

    def one(self, value: Any, row: int) -> float:
        if type(value) is str:
            if _ISO.fullmatch(value):
                try:
                    return _days(datetime.fromisoformat(value))
                except (ValueError, OverflowError):
                    pass
            self._refuse(value, row, self.rule)
        if value is None:
            return _NAN
        if isinstance(value, np.datetime64):
            value = value.astype("datetime64[us]")  # of nanoseconds NumPy would make a number
        if isinstance(value, np.generic):
            value = value.item()
        if type(value) in (int, float):
            if value == value and not -_LAST_S <= value <= _LAST_S:
                self._refuse(value, row, "seconds since 1970, up to the year 9999")
            return float(value) / _DAY_S
        if isinstance(value, datetime):
            return _days(value)
        if isinstance(value, date | time | timedelta):
            return float(days(pa.chunked_array([pa.array([value])])).to_numpy()[0])
        return float(self._refuse(value, row, self.rule))

    def many(self, values: Sequence[Any], first: int = 0) -> Cells:
        if {str, _NONE}.issuperset(map(type, values)):
            try:
                texts = pa.chunked_array([pa.array(values, pa.string())])
                return pc.fill_null(days(timestamps(texts)), _NAN).to_numpy().astype(np.float32)
            except (pa.ArrowInvalid, UnicodeEncodeError):
                pass  # One by one, to name the row; or because only some of them have a zone.
        return np.array([self.one(value, first + at) for at, value in enumerate(values)], dtype=np.float32)


class _Categories:
    """Texts, by their position among the categories; numbers and truths stand for the text that Arrow makes of them."""

    def __init__(self, column: FeatureColumn) -> None:
        self._name = column.name
        self._codes: dict[str | None, float] = {text: float(code) for code, text in enumerate(column.categories)}
        self._codes[None] = _NAN
        self._unseen = float(len(column.categories)) if column.other else _NAN

    def one(self, value: Any, row: int) -> float:
        if type(value) is not str and value is not None:
            value = self._text(value, row)
        return self._codes.get(value, self._unseen)

    def many(self, values: Sequence[Any], first: int = 0) -> Cells:
        if not {str, _NONE}.issuperset(map(type, values)):
            values = [
                value if type(value) is str or value is None else self._text(value, first + at)
                for at, value in enumerate(values)
            ]
        codes, unseen = self._codes.get, self._unseen
        return np.array([codes(value, unseen) for value in values], dtype=np.float32)

    def _text(self, value: Any, row: int) -> str | None:
        try:
            return category_text(value)
        except ValueError:
            return self._refuse(value, row)

    def _refuse(self, value: Any, row: int) -> str:
        shown = f"{type(value).__name__} {_cut(value)}"
        raise InvalidData(f"row {row}: column {self._name!r} takes a text or null, got {shown}")


def category_text(value: Any) -> str | None:
    """The text that a value stands for among categories, None for a missing one; ValueError for any that does not."""
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
    """A date as the readers take it from JSON, in microseconds since 1970; None for a missing one."""
    if value is None:
        return None
    if isinstance(value, str):
        return round(_days(datetime.fromisoformat(value)) * _DAY_US)
    return round(float(value) * 1e6)


def _days(moment: datetime) -> float:
    since = moment - (_EPOCH if moment.tzinfo else _NAIVE_EPOCH)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) / _DAY_US


def _float(value: Any) -> float:
    try:
        return _NAN if value is None else float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def written(value: Any) -> str:
    """The value as Python writes it, if it can."""
    try:
        return repr(value)
    except ValueError:  # an integer of more digits than are written out
        return "of too many digits"
    except RecursionError:
        return "of too many levels"


def _cut(value: Any) -> str:
    text = written(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
