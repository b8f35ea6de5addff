"""Validation of recorded rows: input in any supported container becomes a table of one form, or an error that names the
row.

Rows come in any container that `read_columns` supports; row numbers count from 0. Merely odd values (NaN, texts among
numbers, unseen categories) are accepted: the analysis counts them.
"""

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData
from optagent.loop.observe.tabular_input import TEXT, first_names, read_columns
from optagent.serving.column_readers import LONGEST_TEXT
from optagent.serving.mixture_record import is_said_column
from optagent.training.columns import LONGEST_NAME, Kind, kind_of
from optagent.training.values import timestamps

CHAMPION_ARM = "champion"

_OLDEST_S = 366 * 86_400.0
_AHEAD_S = 300.0  # clocks differ

_TIME = pa.timestamp("us", "UTC")
_EARLIEST_US = int(dt.datetime(1, 1, 1, tzinfo=dt.UTC).timestamp()) * 1_000_000
_LATEST_US = int(dt.datetime(9999, 12, 31, tzinfo=dt.UTC).timestamp()) * 1_000_000


def checked_predictions(rows: Any, spec: ModelSpec, now: float) -> pa.Table:
    """A table of `id`, `time`, `prediction` (text, float64 for a regression), `probability...`, `latency_ms`,
    `version`, `arm`.

    The features follow as they were sent. Rows without a time get `now`, and those without an arm "champion".
    InvalidData names row, value and rule, and a column of a mixture's own: only what serves a mixture tells what its
    slots said, from which its weights are learned.
    """
    columns = read_columns(rows)
    for name in columns:
        if is_said_column(name):
            raise InvalidData(f"column {name!r}: only a gateway records the columns of a mixture; leave it out")
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
    """A table of `id`, `time`, `label` (text, number or boolean as sent) and the numeric columns, outcomes, as float64.

    A column with the target's name counts as `label`. Other columns of texts or dates are left out. InvalidData names
    row, value and rule.
    """
    columns = read_columns(rows)
    count = len(columns["id"])
    if "label" not in columns and spec.target in columns:
        columns["label"] = columns.pop(spec.target)
    if "label" not in columns:
        raise InvalidData(f"labels: a column 'label' or {spec.target!r} is needed, got {first_names(columns)}")
    label = columns.pop("label")
    empty = pc.is_null(label, nan_is_null=True)
    if pc.any(empty).as_py():
        raise _invalid_value("label", label, empty, "is no label; leave out rows that have none yet")
    if kind_of(label.type) is Kind.DATETIME:
        raise _wrong_type("label", label, "a text or number is needed")
    checked = {"id": _ids(columns.pop("id")), "time": _times(columns, spec, now, count), "label": label}
    outcomes = {
        name: values.cast(pa.float64(), safe=False)
        for name, values in columns.items()
        if kind_of(values.type) in (Kind.NUMERIC, Kind.BOOLEAN)
    }
    return pa.table(checked | outcomes)


def check_sent_labels(labels: pa.Table, spec: ModelSpec, now: float) -> None:
    """Refuses labels, as checked above, that no caller over the network may record; InvalidData names row and rule.

    Their time is of the last year, or of the label horizon where that is longer: each day of labels is a file of the
    archive, and one of the future could not be corrected by a later label. A program imports older ones by the SDK.
    """
    times, texts = labels["time"].cast(pa.int64()), labels["time"].cast(pa.string())
    oldest_s = max(_OLDEST_S, spec.label_delay_s)
    early = pc.less(times, round((now - oldest_s) * 1e6))
    if pc.any(early).as_py():
        raise _invalid_value("time", texts, early, f"is more than {oldest_s / 86_400:g} days ago")
    late = pc.greater(times, round((now + _AHEAD_S) * 1e6))
    if pc.any(late).as_py():
        raise _invalid_value("time", texts, late, f"is more than {_AHEAD_S / 60:g} minutes ahead")
    for name, most in (("id", LONGEST_NAME), ("label", LONGEST_TEXT)):
        if pt.is_large_string(labels[name].type):
            long = pc.greater(pc.utf8_length(labels[name]), most)
            if pc.any(long).as_py():
                raise _invalid_value(name, labels[name], long, f"has more than {most:,} characters")


def _answers(columns: dict[str, pa.Array], spec: ModelSpec) -> dict[str, pa.Array]:
    """The model's predictions and probabilities, removed from `columns`."""
    probabilities = _probabilities(columns, spec)
    if "prediction" not in columns and not probabilities:
        needed = "'prediction' is needed" if not spec.task.classifies else "'prediction' or 'probability' is needed"
        raise InvalidData(f"predictions: a column {needed}, got {first_names(columns)}")
    if "prediction" not in columns:
        return probabilities
    column = columns.pop("prediction")
    prediction = _class_names(column) if spec.task.classifies else _floats("prediction", column)
    present = pc.is_valid(prediction)
    for values in probabilities.values():
        present = pc.or_(present, pc.is_valid(values))
    if not pc.all(present).as_py():
        raise _invalid_value("prediction", column, pc.invert(present), "is no prediction")
    return {"prediction": prediction, **probabilities}


def _probabilities(columns: dict[str, pa.Array], spec: ModelSpec) -> dict[str, pa.Array]:
    """The probability columns, removed from `columns`; a name that the model lists as a feature stays a feature."""
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
        raise _wrong_type("id", values, "an id is a text or a whole number")
    texts = values.cast(TEXT)
    empty = pc.fill_null(pc.equal(texts, ""), True)
    if pc.any(empty).as_py():
        raise _invalid_value("id", texts, empty, "is no id; every row needs one")
    return texts


def _times(columns: dict[str, pa.Array], spec: ModelSpec, now: float, count: int) -> pa.Array:
    """UTC times from `time`, or from the model's time column, removed from `columns`."""
    name = "time" if "time" in columns else spec.time_column
    if name is None or name not in columns:
        return pa.array(np.full(count, round(now * 1e6)), pa.int64()).cast(_TIME)
    column = columns.pop(name)
    missing = pc.is_null(column, nan_is_null=True)
    if pc.any(missing).as_py():
        raise _invalid_value(name, column, missing, "is no time; leave out the column for rows of now")
    kind = kind_of(column.type)
    if kind is Kind.CATEGORICAL:
        times = _parse_times(name, column)
    elif kind is Kind.NUMERIC:
        times = _convert_posix_seconds(name, column)
    elif pt.is_timestamp(column.type) or pt.is_date(column.type):
        times = _convert_dates(name, column)
    else:
        rule = "a time is a date and time, a text in ISO 8601 or a number of POSIX seconds"
        raise _wrong_type(name, column, rule)
    numbers = times.cast(pa.int64())
    far = pc.or_(pc.less(numbers, _EARLIEST_US), pc.greater(numbers, _LATEST_US))
    if pc.any(far).as_py():
        raise _invalid_value(name, column, far, "is not between the years 1 and 9999")
    return times


def _convert_dates(name: str, column: pa.Array) -> pa.Array:
    try:
        return (
            column.cast(_TIME, safe=False)
            if pt.is_timestamp(column.type)
            else column.cast(pa.timestamp("us")).cast(_TIME)
        )
    except pa.ArrowInvalid as error:
        raise InvalidData(f"column {name!r}: {str(error)[:200]}") from None


def _convert_posix_seconds(name: str, column: pa.Array) -> pa.Array:
    seconds = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    far = ~((seconds >= _EARLIEST_US / 1e6) & (seconds <= _LATEST_US / 1e6))
    if far.any():
        rule = "is no time in POSIX seconds between the years 1 and 9999; is it in milliseconds?"
        raise _invalid_value(name, column, pa.array(far), rule)
    return pa.array(np.round(seconds * 1e6).astype(np.int64)).cast(_TIME)


def _parse_times(name: str, column: pa.Array) -> pa.Array:
    try:
        return pc.cast(timestamps(column), _TIME)
    except pa.ArrowInvalid:  # with and without offsets, other forms of ISO 8601, or not a time
        return pa.array([_parse_time(name, text, row) for row, text in enumerate(column.to_pylist())], _TIME)


def _parse_time(name: str, text: str, row: int) -> dt.datetime:
    try:
        parsed = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            return dt.datetime.fromtimestamp(float(text), dt.UTC)
        except (ValueError, OverflowError, OSError):
            raise InvalidData(
                f"column {name!r}: {text!r:.100} in row {row} is no time; as 2024-01-31T08:00:00Z, or POSIX seconds"
            ) from None
    try:
        return parsed.replace(tzinfo=dt.UTC) if parsed.tzinfo is None else parsed.astimezone(dt.UTC)
    except OverflowError:
        raise InvalidData(f"column {name!r}: {text!r:.100} in row {row} is not between the years 1 and 9999") from None


def _class_names(values: pa.Array) -> pa.Array:
    """Labels as `str(label)` gives them; whole floats lose their fraction, since a missing value turns integers into
    floats."""
    if pt.is_boolean(values.type):
        return pc.if_else(values, pa.scalar("True", TEXT), pa.scalar("False", TEXT))
    if pt.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        try:
            values = values.cast(pa.int64())
        except pa.ArrowInvalid:
            return pa.array([None if label is None else str(label) for label in values.to_pylist()], TEXT)
    return _texts("prediction", values)


def _texts(name: str, values: pa.Array) -> pa.Array:
    try:
        return values.cast(TEXT)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _wrong_type(name, values, "a text is needed") from None


def _floats(name: str, values: pa.Array) -> pa.Array:
    kind = kind_of(values.type)
    if kind is Kind.DATETIME:
        raise _wrong_type(name, values, "a number is needed")
    try:
        return values.cast(pa.float64(), safe=kind is Kind.CATEGORICAL)
    except pa.ArrowInvalid:
        for row, text in enumerate(values.to_pylist()):
            if text is not None and not _is_number(text):
                raise InvalidData(f"column {name!r}: {text!r:.100} in row {row} is no number") from None
        return pa.array([None if text is None else float(text) for text in values.to_pylist()], pa.float64())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _invalid_value(name: str, values: pa.Array, bad: pa.Array, rule: str) -> InvalidData:
    """An error that names the first bad value, its row and the rule."""
    row = pc.index(bad, True).as_py()
    return InvalidData(f"column {name!r}: {_value_text(values[row])} in row {row} {rule}")


def _wrong_type(name: str, values: pa.Array, rule: str) -> InvalidData:
    """An error that names the first value present, since all values have one type."""
    row = int(np.argmax(pc.is_valid(values).to_numpy(zero_copy_only=False)))
    value = _value_text(values[row])
    return InvalidData(f"column {name!r}: {value} in row {row} is of type {values.type}; {rule}")


def _value_text(value: pa.Scalar) -> str:
    try:
        return f"{value.as_py()!r:.100}"
    except (ArithmeticError, LookupError, ValueError):  # a time that Python has no form of, or of an unknown zone
        return f"{value.cast(pa.string(), safe=False).as_py()}"
