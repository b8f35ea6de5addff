"""The door for recorded rows: what a caller sends becomes a table in one form, or is refused whole with the row.

Rows come as a pyarrow Table or RecordBatch, a pandas DataFrame, a list of dicts (ragged, of mixed types) or a dict of
columns. Row numbers count from 0. What is merely odd (NaN, texts among numbers, unseen categories) is let in: the
analysis counts it.
"""

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData
from optagent.training.columns import Kind, kind_of
from optagent.training.values import timestamps

MOST_ROWS = 1_000_000
CHAMPION_ARM = "champion"

_TIME = pa.timestamp("us", "UTC")
_TEXT = pa.large_string()
_EARLIEST_US = int(dt.datetime(1, 1, 1, tzinfo=dt.UTC).timestamp()) * 1_000_000
_LATEST_US = int(dt.datetime(9999, 12, 31, tzinfo=dt.UTC).timestamp()) * 1_000_000


def checked_predictions(rows: Any, spec: ModelSpec, now: float) -> pa.Table:
    """`id`, `time`, `prediction` (text, float64 for a regression), `probability...`, `latency_ms`, `version`, `arm`.

    The features follow as they came. Rows without a time happened `now`, and those without an arm in "champion".
    InvalidData names row, value and rule.
    """
    columns = _columns(rows)
    count = len(columns["id"])
    answers = _answers(columns, spec)
    checked = {
        "id": _ids(columns.pop("id")),
        "time": _times(columns, spec, now, count),
        **answers,
        "latency_ms": _floats("latency_ms", columns.pop("latency_ms", pa.nulls(count))),
        "version": _texts("version", columns.pop("version", pa.nulls(count))),
        "arm": pc.fill_null(_texts("arm", columns.pop("arm", pa.nulls(count))), CHAMPION_ARM),
    }
    return pa.table(checked | columns)


def checked_labels(rows: Any, spec: ModelSpec, now: float) -> pa.Table:
    """`id`, `time`, `label` (text, number or boolean as it came) and the numeric columns, outcomes, as float64.

    The target's name is as good as `label`. Other columns of texts or dates are left out. InvalidData as above.
    """
    columns = _columns(rows)
    count = len(columns["id"])
    if "label" not in columns and spec.target in columns:
        columns["label"] = columns.pop(spec.target)
    if "label" not in columns:
        raise InvalidData(f"labels: a column 'label' or {spec.target!r} is needed, got {_listed(columns)}")
    label = columns.pop("label")
    empty = pc.is_null(label, nan_is_null=True)
    if pc.any(empty).as_py():
        raise _refused("label", label, empty, "is no label; leave out rows that have none yet")
    if kind_of(label.type) is Kind.DATETIME:
        raise _mistyped("label", label, "a text or number is needed")
    checked = {"id": _ids(columns.pop("id")), "time": _times(columns, spec, now, count), "label": label}
    outcomes = {
        name: values.cast(pa.float64(), safe=False)
        for name, values in columns.items()
        if kind_of(values.type) in (Kind.NUMERIC, Kind.BOOLEAN)
    }
    return pa.table(checked | outcomes)


def _answers(columns: dict[str, pa.Array], spec: ModelSpec) -> dict[str, pa.Array]:
    """The model's answers, taken out of `columns`."""
    probabilities = _probabilities(columns, spec)
    if "prediction" not in columns and not probabilities:
        needed = "'prediction' is needed" if not spec.task.classifies else "'prediction' or 'probability' is needed"
        raise InvalidData(f"predictions: a column {needed}, got {_listed(columns)}")
    if "prediction" not in columns:
        return probabilities
    given = columns.pop("prediction")
    prediction = _class_names(given) if spec.task.classifies else _floats("prediction", given)
    answered = pc.is_valid(prediction)
    for values in probabilities.values():
        answered = pc.or_(answered, pc.is_valid(values))
    if not pc.all(answered).as_py():
        raise _refused("prediction", given, pc.invert(answered), "is no prediction")
    return {"prediction": prediction, **probabilities}


def _probabilities(columns: dict[str, pa.Array], spec: ModelSpec) -> dict[str, pa.Array]:
    """A name that the model lists as a feature stays a feature."""
    if not spec.task.classifies:
        return {}
    names = [name for name in columns if name == "probability" or name.startswith("probability_")]
    names = [name for name in names if name not in spec.features]
    if "probability" in names and spec.task is not Task.BINARY:
        raise InvalidData("column 'probability': that is for binary models; send 'probability_LABEL' for each class")
    return {name: _floats(name, columns.pop(name)) for name in names}


def _ids(values: pa.Array) -> pa.Array:
    kind = kind_of(values.type)
    if not (kind is Kind.CATEGORICAL or pt.is_integer(values.type) or pt.is_null(values.type)):
        raise _mistyped("id", values, "an id is a text or a whole number")
    texts = values.cast(_TEXT)
    empty = pc.fill_null(pc.equal(texts, ""), True)
    if pc.any(empty).as_py():
        raise _refused("id", texts, empty, "is no id; every row needs one")
    return texts


def _times(columns: dict[str, pa.Array], spec: ModelSpec, now: float, count: int) -> pa.Array:
    """UTC. `time`, or the model's time column, taken out of `columns`."""
    name = "time" if "time" in columns else spec.time_column
    if name is None or name not in columns:
        return pa.array(np.full(count, round(now * 1e6)), pa.int64()).cast(_TIME)
    given = columns.pop(name)
    missing = pc.is_null(given, nan_is_null=True)
    if pc.any(missing).as_py():
        raise _refused(name, given, missing, "is no time; leave out the column for rows of now")
    kind = kind_of(given.type)
    if kind is Kind.CATEGORICAL:
        times = _read_times(name, given)
    elif kind is Kind.NUMERIC:
        times = _posix_times(name, given)
    elif pt.is_timestamp(given.type) or pt.is_date(given.type):
        times = _dated_times(name, given)
    else:
        rule = "a time is a date and time, a text in ISO 8601 or a number of POSIX seconds"
        raise _mistyped(name, given, rule)
    numbers = times.cast(pa.int64())
    far = pc.or_(pc.less(numbers, _EARLIEST_US), pc.greater(numbers, _LATEST_US))
    if pc.any(far).as_py():
        raise _refused(name, given, far, "is not between the years 1 and 9999")
    return times


def _dated_times(name: str, given: pa.Array) -> pa.Array:
    try:
        return (
            given.cast(_TIME, safe=False) if pt.is_timestamp(given.type) else given.cast(pa.timestamp("us")).cast(_TIME)
        )
    except pa.ArrowInvalid as error:
        raise InvalidData(f"column {name!r}: {error}") from None


def _posix_times(name: str, given: pa.Array) -> pa.Array:
    seconds = given.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    far = ~((seconds >= _EARLIEST_US / 1e6) & (seconds <= _LATEST_US / 1e6))
    if far.any():
        rule = "is no time in POSIX seconds between the years 1 and 9999; is it in milliseconds?"
        raise _refused(name, given, pa.array(far), rule)
    return pa.array(np.round(seconds * 1e6).astype(np.int64)).cast(_TIME)


def _read_times(name: str, given: pa.Array) -> pa.Array:
    try:
        return pc.cast(timestamps(given), _TIME)
    except pa.ArrowInvalid:  # with and without offsets, other forms of ISO 8601, or not a time
        return pa.array([_read_time(name, text, row) for row, text in enumerate(given.to_pylist())], _TIME)


def _read_time(name: str, text: str, row: int) -> dt.datetime:
    try:
        read = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            return dt.datetime.fromtimestamp(float(text), dt.UTC)
        except (ValueError, OverflowError, OSError):
            raise InvalidData(
                f"column {name!r}: {text!r} in row {row} is no time; as 2024-01-31T08:00:00Z, or POSIX seconds"
            ) from None
    try:
        return read.replace(tzinfo=dt.UTC) if read.tzinfo is None else read.astimezone(dt.UTC)
    except OverflowError:
        raise InvalidData(f"column {name!r}: {text!r} in row {row} is not between the years 1 and 9999") from None


def _class_names(values: pa.Array) -> pa.Array:
    """As `str(label)` would have them; whole numbers without a fraction, since a missing value makes floats of ints."""
    if pt.is_boolean(values.type):
        return pc.if_else(values, pa.scalar("True", _TEXT), pa.scalar("False", _TEXT))
    if pt.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        try:
            values = values.cast(pa.int64())
        except pa.ArrowInvalid:
            return pa.array([None if label is None else str(label) for label in values.to_pylist()], _TEXT)
    return _texts("prediction", values)


def _texts(name: str, values: pa.Array) -> pa.Array:
    try:
        return values.cast(_TEXT)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _mistyped(name, values, "a text is needed") from None


def _floats(name: str, values: pa.Array) -> pa.Array:
    kind = kind_of(values.type)
    if kind is Kind.DATETIME:
        raise _mistyped(name, values, "a number is needed")
    try:
        return values.cast(pa.float64(), safe=kind is Kind.CATEGORICAL)
    except pa.ArrowInvalid:
        for row, text in enumerate(values.to_pylist()):
            if text is not None and not _is_number(text):
                raise InvalidData(f"column {name!r}: {text!r} in row {row} is no number") from None
        return pa.array([None if text is None else float(text) for text in values.to_pylist()], pa.float64())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _columns(rows: Any) -> dict[str, pa.Array]:
    """The columns of whatever was sent, texts as large_string; `id` among them."""
    names, arrays = _taken_apart(rows)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidData(f"rows: columns {twice} stand twice")
    if "" in names:
        raise InvalidData("rows: a column has no name")
    columns = dict(zip(names, arrays, strict=True))
    if "id" not in columns:
        raise InvalidData(f"rows: a column 'id' is needed, got {_listed(columns)}")
    return {name: _plain(name, values) for name, values in columns.items()}


def _taken_apart(rows: Any) -> tuple[list[str], list[pa.Array]]:
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    if isinstance(rows, pa.Table):
        _check_size(rows.num_rows)
        return rows.schema.names, [rows.column(at).combine_chunks() for at in range(rows.num_columns)]
    if isinstance(rows, pd.DataFrame):
        _check_size(len(rows))
        names = [str(name) for name in rows.columns]
        return names, [_from_values(name, rows.iloc[:, at]) for at, name in enumerate(names)]
    if isinstance(rows, Mapping):
        return _from_mapping(rows)
    if isinstance(rows, list | tuple):
        return _from_dicts(rows)
    known = "a pyarrow Table, a pandas DataFrame, a list of dicts or a dict of columns"
    raise InvalidData(f"rows: {known} is needed, got {type(rows).__name__}")


def _from_mapping(rows: Mapping[Any, Any]) -> tuple[list[str], list[pa.Array]]:
    names = [str(name) for name in rows]
    for name, values in zip(names, rows.values(), strict=True):
        if isinstance(values, str | bytes) or not hasattr(values, "__len__") or isinstance(values, Mapping | set):
            raise InvalidData(f"column {name!r}: a list of values is needed, got {values!r:.100}")
    lengths = {name: len(values) for name, values in zip(names, rows.values(), strict=True)}
    if len(set(lengths.values())) > 1:
        raise InvalidData(f"rows: the columns are of different lengths: {dict(list(lengths.items())[:50])}")
    _check_size(next(iter(lengths.values()), 0))
    return names, [_from_values(name, values) for name, values in zip(names, rows.values(), strict=True)]


def _from_dicts(rows: Sequence[Any]) -> tuple[list[str], list[pa.Array]]:
    """A key that a row does not have is missing there."""
    _check_size(len(rows))
    keys: dict[Any, None] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidData(f"rows: row {number} is {row!r:.100}; a dict is needed")
        keys.update(dict.fromkeys(row))
    return [str(key) for key in keys], [_from_values(str(key), [row.get(key) for row in rows]) for key in keys]


def _from_values(name: str, values: Any) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, pd.Index):
        values = pd.Series(values)
    if isinstance(values, pd.Series) and isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.tz_convert(None)  # UTC; pyarrow 25 reads zoned ones in a way that pandas 3.1 warns of
    if isinstance(values, pd.Series) and isinstance(values.dtype, np.dtype) and values.dtype.kind == "f":
        values = values.to_numpy()  # else NaN would become null here, and nowhere else
    try:
        found = pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _mixed(name, list(values))
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    return found if kind_of(found.type) is not None else _mixed(name, list(values))


def _mixed(name: str, values: Sequence[Any]) -> pa.Array:
    """Values of several types: numbers where all are, else texts."""
    for row, value in enumerate(values):
        if not _is_scalar(value):
            raise InvalidData(f"column {name!r}: {value!r:.100} in row {row} is neither number, text, boolean nor date")
    known = [None if _is_missing(value) else value for value in values]
    if all(value is None or isinstance(value, bool | int | float | np.number | np.bool_) for value in known):
        return pa.array([None if value is None else _as_float(value) for value in known], pa.float64())
    texts = [None if value is None else _as_text(value) for value in known]
    for row, text in enumerate(texts):
        if text is not None and _is_broken(text):
            raise InvalidData(f"column {name!r}: {text!r} in row {row} is no text in Unicode")
    return pa.array(texts, _TEXT)


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_scalar(value: Any) -> bool:
    kinds = (str, bool, int, float, decimal.Decimal, dt.date, dt.time, dt.timedelta, uuid.UUID, np.number, np.bool_)
    return _is_missing(value) or isinstance(value, (*kinds, np.datetime64, np.timedelta64))


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)


def _plain(name: str, values: pa.Array) -> pa.Array:
    """Texts as large_string, categories as their values; refuses nested and binary columns."""
    if isinstance(values, pa.ExtensionArray):
        values = _mixed(name, values.to_pylist())
    if pt.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = kind_of(values.type)
    if kind is None:
        row = int(np.argmax(pc.is_valid(values).to_numpy(zero_copy_only=False))) if len(values) else 0
        shown = f"{values[row].as_py()!r:.100}"
        raise InvalidData(
            f"column {name!r}: {shown} in row {row} is {values.type}; a number, text, boolean or date is needed"
        )
    return values.cast(_TEXT) if kind is Kind.CATEGORICAL else values


def _check_size(count: int) -> None:
    if not count:
        raise InvalidData("rows: there are none")
    if count > MOST_ROWS:
        raise InvalidData(f"rows: {count:,} in one call, the limit is {MOST_ROWS:,}; send them in parts")


def _refused(name: str, values: pa.Array, bad: pa.Array, rule: str) -> InvalidData:
    row = pc.index(bad, True).as_py()
    return InvalidData(f"column {name!r}: {values[row].as_py()!r} in row {row} {rule}")


def _mistyped(name: str, values: pa.Array, rule: str) -> InvalidData:
    """Shows the first value that is there; all are of one type."""
    row = int(np.argmax(pc.is_valid(values).to_numpy(zero_copy_only=False)))
    shown = f"{values[row].as_py()!r:.100}"
    return InvalidData(f"column {name!r}: {shown} in row {row} is of type {values.type}; {rule}")


def _listed(names: Iterable[str]) -> list[str]:
    return list(names)[:50]
