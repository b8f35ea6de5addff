"""What was answered, as rows of predictions to be recorded."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from optagent.arrays import Prediction
from optagent.serving.column_readers import category_text, microseconds
from optagent.serving.engine import ServedModel
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn

_TIME = pa.timestamp("us", "UTC")
_TYPES = {
    Kind.NUMERIC: pa.float64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.CATEGORICAL: pa.large_string(),
    Kind.DATETIME: _TIME,
}
"""Of the features, always the same for a kind: tables of other types are kept apart in the archive."""


class PredictionRecord(NamedTuple):
    """The rows of one request as they came, and what they were told.

    `time` is the request's arrival in POSIX seconds, `arm` what was drawn for it, `model` who answered.
    """

    model: ServedModel
    ids: Sequence[str]
    time: float
    rows: Any
    scores: Prediction
    latency_ms: float
    arm: str


def predictions_table(answered: Sequence[PredictionRecord]) -> pa.Table:
    """The rows of requests that one version answered, in their order.

    `id`, `time`, the features, `prediction` (the text of a label; a value), `probability_<label>`, `latency_ms`,
    `version` and `arm`. A feature of one of these names is left out.
    """
    model = answered[0].model
    counts = [len(one.ids) for one in answered]
    each = np.repeat(np.arange(len(counts)), counts)
    told = model.answers_table(np.concatenate([one.scores for one in answered]), as_text=True)
    times = np.array([round(one.time * 1e6) for one in answered])
    bookkeeping = {
        "id": pa.array([name for one in answered for name in one.ids], pa.large_string()),
        "time": pa.array(times[each]).cast(_TIME),
        **{name: told[name] for name in told.schema.names},
        "latency_ms": pa.array(np.array([one.latency_ms for one in answered])[each]),
        "version": pa.array([model.version] * len(each), pa.large_string()),
        "arm": pa.array([one.arm for one in answered], pa.large_string()).take(pa.array(each)),
    }
    features = {column.name: _feature([one.rows for one in answered], column) for column in model.schema.columns}
    return pa.table({**features, **bookkeeping})


def _feature(requests: Sequence[Any], column: FeatureColumn) -> pa.ChunkedArray:
    """A column of all requests, whatever the form of each."""
    chunks: list[pa.Array] = []
    plain: list[Any] = []
    for rows in requests:
        if isinstance(rows, pa.Table):
            chunks += [_typed(plain, column.kind), *_cast(rows[column.name], column.kind).chunks]
            plain = []
        elif isinstance(rows, Mapping):
            plain += rows[column.name]
        else:
            plain += map(itemgetter(column.name), rows)
    return pa.chunked_array([*chunks, _typed(plain, column.kind)], _TYPES[column.kind])


def _typed(values: list[Any], kind: Kind) -> pa.Array:
    """The values that a reader of this kind has taken; what is of another type than most stands for one of it."""
    if kind is not Kind.DATETIME:
        try:
            return pa.array(values, _TYPES[kind])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass
    read = _READ[kind]
    return pa.array([None if value is None else read(value) for value in values], _TYPES[kind])


_READ: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.NUMERIC: float,
    Kind.BOOLEAN: bool,
    Kind.CATEGORICAL: category_text,
    Kind.DATETIME: microseconds,
}


def _cast(values: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    try:
        return values.cast(_TYPES[kind], safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # such as dates in texts of several forms
        return pa.chunked_array([_typed(values.to_pylist(), kind)])
