"""Learn: the rows that the next version may learn from, those of the model's data and those that came live since."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from optagent.domain.model import ModelSpec
from optagent.errors import InvalidData
from optagent.loop.train.prepare import PreparedRows, prepared_of
from optagent.loop.train.training_window import TrainingWindow, restricted
from optagent.ports import Datasets, Observations
from optagent.training.columns import Kind, kind_of
from optagent.training.encoding import columns_of
from optagent.training.row_times import instants

_LEAST_HOLDOUT = 500  # of a window that was not asked for by its length: with fewer rows no gate sees a difference


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Rows of the model's data, then `live_rows` that have matured up to `until`; `spec` says how they are in order.

    A model without an order of rows has one as soon as there are live rows: those came later.
    """

    spec: ModelSpec
    table: pa.Table
    live_rows: int = 0
    until: float = 0.0
    notes: tuple[str, ...] = ()

    def since(self, start: float) -> "TrainingRows":
        """Only rows from `start` on, in the unit of the rows' times: what is set apart of them is newer, too."""
        time = instants(self.table, self.spec)
        assert time is not None, "rows with a window are in order"
        table = self.table.filter(pa.array(time >= start))
        return replace(self, table=table, live_rows=min(self.live_rows, table.num_rows))

    def prepared(self, seed: int, least_holdout: int = 0) -> PreparedRows:
        """Split, encoded, with folds; raises InvalidData."""
        prepared = prepared_of(self.table, self.spec, seed, least_holdout)
        return replace(prepared, notes=(*self.notes, *prepared.notes))


def learnable(spec: ModelSpec, datasets: Datasets, observations: Observations | None, until: float) -> TrainingRows:
    """Reads both; `until` (POSIX seconds) leaves out what matured later, so that the same rows can be read again.

    Raises InvalidData and Unavailable.
    """
    table = datasets.read(spec.data, columns_of(spec))
    tables = [] if observations is None else observations.matured(spec.model_id)
    live, notes = _live(spec, table, tables, until)
    if live is None or not live.num_rows:
        return TrainingRows(spec, table, until=until, notes=notes)
    ordered = spec if spec.time_ordered else replace(spec, rows_in_time_order=True)
    whole = pa.concat_tables([_undictionaried(table), live], promote_options="permissive")
    return TrainingRows(ordered, whole, live.num_rows, until, notes)


def windowed(rows: TrainingRows, prepared: PreparedRows, chosen: TrainingWindow, seed: int) -> PreparedRows:
    """The rows of a window, split anew: of a short window the holdout is short and new as well, and what is learned
    from reaches nearly up to now. With weights, all rows and the holdout stay. `prepared` is of all rows.

    Raises InvalidData where the window is too small for that.
    """
    if chosen.weight is not None or len(chosen.rows) == len(prepared.problem.data) or prepared.dev_time is None:
        return restricted(prepared, chosen, seed)
    if chosen.start is not None:
        return rows.since(chosen.start).prepared(seed)
    start = float(prepared.dev_time[chosen.rows].min())
    return rows.since(start).prepared(seed, min(_LEAST_HOLDOUT, len(prepared.holdout)))


def _live(
    spec: ModelSpec, table: pa.Table, tables: list[pa.Table], until: float
) -> tuple[pa.Table | None, tuple[str, ...]]:
    """Live rows with the columns and types of the model's data, the oldest first."""
    name = spec.time_column or "time"
    if spec.time_column and kind_of(table.schema.field(spec.time_column).type) is Kind.NUMERIC:
        return None, (f"live rows are left out: their times are dates, {spec.time_column!r} holds numbers",)
    found = []
    end = pa.scalar(datetime.fromtimestamp(until, UTC), pa.timestamp("us", "UTC"))
    for rows in tables:
        kept = rows.filter(pc.less(rows.column(name), end))
        if kept.num_rows:
            found.append(
                pa.table({one: _column(kept, one, table.schema.field(one).type) for one in table.column_names})
            )
    if not found:
        return None, ()
    live = pa.concat_tables(found)
    if spec.time_column:
        newest = pc.max(table.column(spec.time_column))
        times = pc.cast(live.column(spec.time_column), table.schema.field(spec.time_column).type)
        fresh = live.filter(pc.greater(times, newest)) if newest.is_valid else live
        return fresh, ()
    return live, ()


def _undictionaried(table: pa.Table) -> pa.Table:
    """Texts as texts: a dictionary has no place for a new category."""
    return pa.table(
        {
            name: pc.cast(values, values.type.value_type) if pa.types.is_dictionary(values.type) else values
            for name, values in zip(table.column_names, table.columns, strict=True)
        }
    )


def _column(rows: pa.Table, name: str, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if name not in rows.column_names:
        return pa.nulls(rows.num_rows, kind)
    values = rows.column(name)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(values.type) and pa.types.is_timestamp(kind) and kind.tz is None:
        values = pc.cast(values, pa.timestamp("us"), safe=False)
    if pa.types.is_integer(kind) and pa.types.is_floating(values.type):
        kind = pa.float64()  # what is missing in live rows has no integer
    try:
        return pc.cast(values, kind, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidData(f"live rows: column {name!r} cannot be read as {kind}: {error}") from None
