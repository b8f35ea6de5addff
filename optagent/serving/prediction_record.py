"""Prediction records: answered requests, and the Arrow table that their rows are recorded in."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from optagent.arrays import Prediction
from optagent.serving.column_readers import category_text, microseconds
from optagent.serving.engine import ServedModel
from optagent.serving.mixture_record import SaidRecord, is_said_column, said_columns
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn
from optagent.training.history.table import key_text, key_texts

_TIME = pa.timestamp("us", "UTC")
_TYPES = {
    Kind.NUMERIC: pa.float64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.CATEGORICAL: pa.large_string(),
    Kind.DATETIME: _TIME,
}
"""The types of features by kind. They never vary, since the archive keeps tables of other types apart."""


class PredictionRecord(NamedTuple):
    """The rows of one request as they came, and the scores that answered them.

    `time` is the request's arrival in POSIX seconds, `arm` the arm drawn for it, `model` the version that answered,
    which is the champion's where a mixture answered: then `mixture` says what its slots said.
    """

    model: ServedModel
    ids: Sequence[str]
    time: float
    rows: Any
    scores: Prediction
    latency_ms: float
    arm: str
    mixture: SaidRecord | None = None


def predictions_table(records: Sequence[PredictionRecord]) -> pa.Table:
    """The rows of requests that one version answered, or one mixture of the same slots, in the order of the requests.

    `id`, `time`, the features, `prediction` (the text of a label; a value), `probability_<label>`, `latency_ms`,
    `version`, `arm`, and the columns of a mixture. A feature of one of these names is left out. The key of a history is
    recorded, too.
    """
    model = records[0].model
    counts = [len(record.ids) for record in records]
    place = np.repeat(np.arange(len(counts)), counts)
    answers = model.format_table(np.concatenate([record.scores for record in records]), as_text=True)
    times = np.array([round(record.time * 1e6) for record in records])
    bookkeeping = {
        "id": pa.array([name for record in records for name in record.ids], pa.large_string()),
        "time": pa.array(times[place]).cast(_TIME),
        **{name: answers[name] for name in answers.schema.names},
        "latency_ms": pa.array(np.array([record.latency_ms for record in records])[place]),
        "version": pa.array([model.version] * len(place), pa.large_string()),
        "arm": pa.array([record.arm for record in records], pa.large_string()).take(pa.array(place)),
    }
    said = [record.mixture for record in records if record.mixture is not None]
    features = {
        column.name: _feature_column([record.rows for record in records], column)
        for column in model.schema.columns
        if not (said and is_said_column(column.name))
    }
    plan = model.schema.history
    if plan is not None and plan.key is not None and plan.key not in features:
        features[plan.key] = _key_column([record.rows for record in records], plan.key, counts)
    return pa.table({**features, **bookkeeping, **(said_columns(said) if said else {})})


def _feature_column(requests: Sequence[Any], column: FeatureColumn) -> pa.ChunkedArray:
    """The column of a feature over all requests, each in any form that the reader takes."""
    chunks: list[pa.Array] = []
    plain: list[Any] = []
    for rows in requests:
        if isinstance(rows, pa.Table):
            chunks += [_array_of_kind(plain, column.kind), *_cast_to_kind(rows[column.name], column.kind).chunks]
            plain = []
        elif isinstance(rows, Mapping):
            plain += rows[column.name]
        else:
            plain += map(itemgetter(column.name), rows)
    return pa.chunked_array([*chunks, _array_of_kind(plain, column.kind)], _TYPES[column.kind])


def _key_column(requests: Sequence[Any], key: str, counts: Sequence[int]) -> pa.ChunkedArray:
    """The key by which rows had their history, as text; null where a row has none."""
    chunks: list[pa.Array] = []
    for rows, count in zip(requests, counts, strict=True):
        if isinstance(rows, pa.Table):
            known = key in rows.schema.names
            chunks += key_texts(rows[key], key).chunks if known else [pa.nulls(count, pa.large_string())]
        else:
            values = rows.get(key, [None] * count) if isinstance(rows, Mapping) else [row.get(key) for row in rows]
            chunks.append(pa.array(map(key_text, values), pa.large_string()))
    return pa.chunked_array(chunks, pa.large_string())


def _array_of_kind(values: list[Any], kind: Kind) -> pa.Array:
    """Values that the reader of this kind accepted, converted where one is of another type than the column's."""
    if kind is not Kind.DATETIME:
        try:
            return pa.array(values, _TYPES[kind])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass
    read = _VALUE_READERS[kind]
    return pa.array([None if value is None else read(value) for value in values], _TYPES[kind])


_VALUE_READERS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.NUMERIC: float,
    Kind.BOOLEAN: bool,
    Kind.CATEGORICAL: category_text,
    Kind.DATETIME: microseconds,
}


def _cast_to_kind(values: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    try:
        return values.cast(_TYPES[kind], safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # such as dates in texts of several forms
        return pa.chunked_array([_array_of_kind(values.to_pylist(), kind)])
