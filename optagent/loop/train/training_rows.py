"""Training rows: the rows that the next version may learn from, of the model's data and of its live predictions."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.domain.model import ModelSpec
from optagent.errors import InvalidData
from optagent.loop.train.prepare import PreparedRows, prepare_table
from optagent.loop.train.training_window import TrainingWindow, restrict_rows
from optagent.ports import Datasets, Observations
from optagent.training.columns import Kind, kind_of
from optagent.training.encoding import columns_of
from optagent.training.history.table import complete_history, plan_history
from optagent.training.row_times import instants

_LEAST_HOLDOUT = 500  # rows of a window that was not asked for as a duration: fewer show a gate no difference


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Rows of the model's data, followed by `live_rows` labelled live rows up to `until`; `spec` tells their order.

    A model without an order of rows has one as soon as there are live rows: those came later. `first_position` is the
    place of the first row among all of them, where the order is that of the places.
    """

    spec: ModelSpec
    table: pa.Table
    live_rows: int = 0
    until: float = 0.0
    notes: tuple[str, ...] = ()
    first_position: float = 0.0

    def since(self, start: float) -> "TrainingRows":
        """The rows from `start` on, in the unit of the rows' times; so their holdout is newer, too."""
        time = instants(self.table, self.spec)
        assert time is not None, "rows with a window are in order"
        chosen = time >= start
        table = self.table.filter(pa.array(chosen))
        first = self.first_position + (int(np.argmax(chosen)) if self.spec.rows_in_time_order else 0)
        return replace(self, table=table, live_rows=min(self.live_rows, table.num_rows), first_position=first)

    def prepare(self, seed: int, least_holdout: int = 0) -> PreparedRows:
        """The rows split, encoded and with folds; raises InvalidData."""
        prepared = prepare_table(self.table, self.spec, seed, least_holdout)
        return replace(prepared, notes=(*self.notes, *prepared.notes), first_position=self.first_position)


def read_training_rows(
    spec: ModelSpec, datasets: Datasets, observations: Observations | None, until: float
) -> TrainingRows:
    """Reads the model's data and its labelled live rows.

    `until` (POSIX seconds) leaves out rows that came later, so that the same rows can be read again. Raises InvalidData
    and Unavailable.
    """
    table = datasets.read(spec.data, columns_of(spec))
    tables = [] if observations is None else observations.matured(spec.model_id)
    live, notes = _select_live_rows(spec, table, tables, until)
    if live is None or not live.num_rows:
        return TrainingRows(spec, complete_history(table, spec), until=until, notes=notes)
    ordered_spec = spec if spec.time_ordered else replace(spec, rows_in_time_order=True)
    whole = pa.concat_tables([_decode_dictionaries(table), live], promote_options="permissive")
    whole = complete_history(whole, spec)  # a live row has the past that its answer was given by, where it has one
    return TrainingRows(ordered_spec, whole, live.num_rows, until, notes)


def prepare_window(rows: TrainingRows, prepared: PreparedRows, window: TrainingWindow, seed: int) -> PreparedRows:
    """The rows of a window, split anew, where `prepared` holds all rows.

    So the holdout of a short window is short and new as well, and the development rows reach nearly up to now. A window
    with weights keeps all rows and the holdout. Raises InvalidData where the window is too small to be split.
    """
    if window.weight is not None or len(window.rows) == len(prepared.problem.data) or prepared.dev_time is None:
        return restrict_rows(prepared, window, seed)
    if window.start is not None:
        return rows.since(window.start).prepare(seed)
    start = float(prepared.dev_time[window.rows].min())
    return rows.since(start).prepare(seed, min(_LEAST_HOLDOUT, len(prepared.holdout)))


def _select_live_rows(
    spec: ModelSpec, table: pa.Table, tables: list[pa.Table], until: float
) -> tuple[pa.Table | None, tuple[str, ...]]:
    """Live rows with the columns and types of the model's data, the oldest first."""
    name = spec.time_column or "time"
    if spec.time_column and kind_of(table.schema.field(spec.time_column).type) is Kind.NUMERIC:
        return None, (f"live rows are left out: their times are dates, {spec.time_column!r} holds numbers",)
    parts, plan = [], plan_history(table, spec)
    schema = table.schema
    for computed in () if plan is None else plan.names:
        schema = schema if computed in schema.names else schema.append(pa.field(computed, pa.float64()))
    end = pa.scalar(datetime.fromtimestamp(until, UTC), pa.timestamp("us", "UTC"))
    for rows in _merge_alike(tables):
        early = rows.filter(pc.less(rows.column(name), end))
        if early.num_rows:
            parts.append(pa.table({each: _cast_column(early, each, schema.field(each).type) for each in schema.names}))
    if not parts:
        return None, ()
    live = pa.concat_tables(parts, promote_options="permissive").combine_chunks()  # a day may have lacked a column
    if spec.time_column:
        newest = pc.max(table.column(spec.time_column))
        times = pc.cast(live.column(spec.time_column), table.schema.field(spec.time_column).type)
        fresh = live.filter(pc.greater(times, newest)) if newest.is_valid else live
        return fresh, ()
    return live, ()


def _merge_alike(tables: list[pa.Table]) -> Iterator[pa.Table]:
    """Neighbours of the same columns as one table each: there is one a day, and a cast costs the same for each."""
    for _, alike in groupby(tables, key=lambda rows: rows.schema):
        yield pa.concat_tables(alike).combine_chunks()


def _decode_dictionaries(table: pa.Table) -> pa.Table:
    """The table with dictionaries as plain texts: a dictionary cannot hold a new category."""
    return pa.table(
        {
            name: pc.cast(values, values.type.value_type) if pa.types.is_dictionary(values.type) else values
            for name, values in zip(table.column_names, table.columns, strict=True)
        },
        metadata=table.schema.metadata,  # it says which column is an index
    )


def _cast_column(rows: pa.Table, name: str, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if name not in rows.column_names:
        return pa.nulls(rows.num_rows, kind)
    values = rows.column(name)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(values.type) and pa.types.is_timestamp(kind) and kind.tz is None:
        values = pc.cast(values, pa.timestamp("us"), safe=False)
    if pa.types.is_integer(kind) and pa.types.is_floating(values.type):
        kind = pa.float64()  # live rows may lack a value, which integers cannot express
    try:
        return pc.cast(values, kind, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # their texts quote the value
        raise InvalidData(f"live rows: column {name!r} cannot be read as {kind}, it is {values.type}") from None
