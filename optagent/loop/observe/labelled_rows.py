"""Labelled rows for training: recorded predictions joined with their labels and stored day by day."""

import math
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.analysis.label_join import deduplicate_rows, join_labels
from optagent.domain.model import ModelSpec
from optagent.domain.monitoring import Window
from optagent.loop.observe.window_rows import EARLY_LABELS_S, labels_of
from optagent.ports import Observations
from optagent.training.columns import Kind, kind_of
from optagent.training.encoding import FeatureColumn, Schema
from optagent.training.live_values import column_named, decode_dictionary, read_column, read_numbers

DAY_S = 86_400
_DAYS_AT_ONCE = 31
_LATE_S = 7.0 * DAY_S
_RECORDED = frozenset({"id", "time", "prediction", "probability", "latency_ms", "version", "arm"})
_US_A_DAY = 86_400_000_000


def store_labelled_rows(observations: Observations, spec: ModelSpec, schema: Schema, window: Window) -> int:
    """Stores the labelled rows of each day of a window, replacing those stored before; returns their number."""
    count, start = 0, int(window.start // DAY_S) * DAY_S
    while start < window.end:
        end = start + DAY_S * max(1, min(_DAYS_AT_ONCE, math.ceil((window.end - start) / DAY_S)))
        count += _save_days(observations, spec, labelled_rows(observations, spec, schema, Window(start, end)))
        start = end
    return count


def store_labelled_rows_since(
    observations: Observations, spec: ModelSpec, schema: Schema, since: float, until: float
) -> int:
    """Stores the labelled rows of the days from `since` on that have none stored yet, in case no monitor ran then, and
    of the newest days, for which labels may still have come; returns their number."""
    late_s = _LATE_S + spec.label_delay_s
    name, first = spec.time_column or "time", int(max(0.0, since - late_s) // DAY_S)
    stored_days = {
        int(pc.min(rows.column(name)).as_py().timestamp() // DAY_S)
        for rows in observations.matured(spec.model_id, _day_name(first * DAY_S))
        if rows.num_rows
    }
    newest = observations.latest_prediction_time(spec.model_id)
    if newest is None or newest < since:
        return 0
    settled = (until - late_s) // DAY_S
    days = range(first, int(min(newest, until) // DAY_S) + 1)
    missing = [day for day in days if day not in stored_days or day >= settled]
    if not missing:
        return 0
    return store_labelled_rows(observations, spec, schema, Window(missing[0] * DAY_S, (missing[-1] + 1) * DAY_S))


def _save_days(observations: Observations, spec: ModelSpec, rows: pa.Table) -> int:
    """Saves rows in time order, day by day, and returns their number."""
    if not rows.num_rows:
        return 0
    days = pc.cast(rows.column(spec.time_column or "time"), pa.int64()).to_numpy() // _US_A_DAY
    edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
    for start, end in pairwise(edges):
        observations.save_matured(spec.model_id, _day_name(int(days[start]) * DAY_S), rows.slice(start, end - start))
    return int(rows.num_rows)


def _day_name(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d")


def count_labelled_rows(observations: Observations, spec: ModelSpec, since: float) -> int:
    """The number of stored labelled rows that are newer than `since`, a POSIX time."""
    day = datetime.fromtimestamp(max(0.0, since), UTC).strftime("%Y-%m-%d")
    start = pa.scalar(datetime.fromtimestamp(max(0.0, since), UTC), pa.timestamp("us", "UTC"))
    days = observations.matured(spec.model_id, day)
    if not days:
        return 0
    newer = pc.greater_equal(days[0].column(spec.time_column or "time"), start)
    return int(pc.sum(newer).as_py() or 0) + sum(rows.num_rows for rows in days[1:])  # no later day has older rows


def labelled_rows(observations: Observations, spec: ModelSpec, schema: Schema, window: Window) -> pa.Table:
    """Each prediction of a window that has a label: `id`, the time, the features, the target and the outcomes.

    Features have the type of the schema whatever they were sent as. A category that the schema does not know stays as
    it is, since the next version may learn it. Columns that the schema left out are included too, such as those with a
    single value when it was made. Unreadable values are missing. Rows are ordered by time and id.
    """
    tables = observations.predictions(spec.model_id, window.start, window.end)
    latest = deduplicate_rows(tables)
    labels = labels_of(observations.labels(spec.model_id, window.start - EARLY_LABELS_S), schema)
    joined = join_labels(latest.ids, latest.time_us, labels)
    labelled = np.flatnonzero(~np.isnan(joined.y))
    latest = latest.select(labelled)
    columns = {
        "id": latest.ids,
        spec.time_column or "time": pa.array(latest.time_us, pa.timestamp("us", "UTC")),
        **{
            column.name: _feature(column, tables, latest.table, latest.row)
            for column in (*schema.columns, *_unlisted_columns(tables, spec, schema))
        },
        schema.target: _target(joined.y[labelled], schema),
        **{name: pa.array(values[labelled], from_pandas=True) for name, values in joined.outcome.items()},
    }
    return pa.table(columns)


def _unlisted_columns(tables: list[pa.Table], spec: ModelSpec, schema: Schema) -> list[FeatureColumn]:
    """Recorded columns that are no features of the schema, with the type of their first appearance."""
    listed = {*schema.names, schema.target, spec.time_column, *_RECORDED}
    columns: dict[str, FeatureColumn] = {}
    for item in (item for table in tables for item in table.schema):
        kind = kind_of(item.type)
        answer = item.name.startswith("probability_") and item.name not in spec.features
        if kind is not None and item.name not in listed and not answer and not pa.types.is_null(item.type):
            columns.setdefault(item.name, FeatureColumn(item.name, kind))
    return [columns[name] for name in sorted(columns)]


def _target(y: np.ndarray, schema: Schema) -> pa.Array:
    if not schema.task.classifies:
        return pa.array(y)
    return pa.array(schema.classes).take(pa.array(y.astype(np.int64)))


def _feature(column: FeatureColumn, tables: list[pa.Table], table: np.ndarray, row: np.ndarray) -> pa.Array:
    """A column of the chosen rows, gathered from all tables."""
    kind = pa.large_string() if column.kind is Kind.CATEGORICAL else pa.float64()
    parts, places = [pa.nulls(0, kind)], [np.empty(0, dtype=np.int64)]
    for index, rows in enumerate(tables):
        places_in_table = np.flatnonzero(table == index)
        values = column_named(rows, column.name)
        if not len(places_in_table):
            continue
        if values is None:
            selected = pa.chunked_array([pa.nulls(len(places_in_table), kind)])
        else:
            selected = values.take(pa.array(row[places_in_table]))
        parts.append(_cast_values(selected, column))
        places.append(places_in_table)
    order = np.argsort(np.concatenate(places), kind="stable")
    ordered = pa.concat_arrays(parts).take(pa.array(order))
    if column.kind is Kind.BOOLEAN:
        return pc.cast(ordered, pa.bool_())
    if column.kind is Kind.DATETIME:
        return pc.cast(pc.round(pc.multiply(ordered, float(_US_A_DAY))), pa.int64()).cast(pa.timestamp("us", "UTC"))
    return ordered


def _cast_values(values: pa.ChunkedArray, column: FeatureColumn) -> pa.Array:
    if column.kind is Kind.CATEGORICAL:
        return pc.cast(decode_dictionary(values), pa.large_string()).combine_chunks()
    parsed = read_numbers(values) if column.kind is Kind.NUMERIC else read_column(values, column)
    return pa.array(np.where(np.isinf(parsed.numbers), np.nan, parsed.numbers), from_pandas=True)
