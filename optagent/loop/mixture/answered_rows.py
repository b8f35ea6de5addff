"""Answered rows of a mixture: those that wait to be learned, with what every slot said and with their labels so far."""

import base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.analysis.expression import compile_expression
from optagent.analysis.label_join import CountedRows, concat_texts, deduplicate_rows, join_labels
from optagent.arrays import Mask, Rows, Vector
from optagent.domain.mixture import MixtureRecord
from optagent.domain.model import ModelSpec
from optagent.errors import InvalidRequest
from optagent.loop.observe.window_rows import EARLY_LABELS_S, labels_of
from optagent.mixing.forms import RATES, Array, Form
from optagent.mixing.learner import SHARES, LearnedRows
from optagent.ports import Observations
from optagent.serving.evidence_record import count_outputs
from optagent.serving.mixture_record import SEPARATOR, SLOTS, read_said
from optagent.training.encoding import Schema
from optagent.training.live_answers import encode_predictions
from optagent.training.live_values import column_named, read_numbers

MOST_ROWS = 200_000
"""The newest answered rows among which a pass learns; older ones are not learned any more."""

UNKNOWN_DELAY_S = 30 * 86_400.0
"""The time for which a label is waited for where the model names no label horizon."""

_COPIES_WITHIN_S = 3600.0
_PASS, _OUTCOME = "pass", "outcome"
_SCORE = "score_"
_SMALL_BYTES = 32_768  # compressing each column of so little takes longer than the rest of a pass


@dataclass(frozen=True, slots=True, eq=False)
class MixtureRows:
    """Rows that mixtures answered, in the order of time and then of ids.

    `layout` (rows,) are the slots of each, joined; `said` (rows, members + layers, outputs) by that layout, with NaN
    beyond a layout's own width; `width` (rows,) is that. `scores` (rows, outputs) are the bounded answers, and `y`
    (rows,) outcomes, NaN where none is known. `columns` are (rows,) numbers that the user's own metrics read.
    `given_up` counts older rows that wait as well, and will not be learned: more than `MOST_ROWS` are newer.
    """

    ids: pa.LargeStringArray
    time_us: Rows
    layout: Sequence[str]
    said: Array
    width: Rows
    scores: Array
    y: Vector
    columns: Mapping[str, Vector] = field(default_factory=dict)
    given_up: int = 0

    def __len__(self) -> int:
        return len(self.y)

    def where(self, mask: Mask) -> "MixtureRows":
        """The rows of a mask."""
        rows = np.flatnonzero(mask)
        layout = [self.layout[row] for row in rows.tolist()]
        return MixtureRows(
            self.ids.take(pa.array(rows)),
            self.time_us[rows],
            layout,
            self.said[rows],
            self.width[rows],
            self.scores[rows],
            self.y[rows],
            {name: values[rows] for name, values in self.columns.items()},
        )

    def runs(self) -> Iterator[tuple[slice, LearnedRows]]:
        """The rows in runs of one layout, in order."""
        start = 0
        for end in range(1, len(self) + 1):
            if end == len(self) or self.layout[end] != self.layout[start]:
                rows, width = slice(start, end), int(self.width[start])
                slots = tuple(self.layout[start].split(SEPARATOR))
                yield rows, LearnedRows(slots, self.said[rows, :width], self.scores[rows], self.y[rows])
                start = end


def read_answered_rows(
    observations: Observations, spec: ModelSpec, schema: Schema, form: Form, record: MixtureRecord, now: float
) -> MixtureRows:
    """The rows that mixtures have answered and that are not learned yet, of the time for which labels are waited for.

    Rows of the ranges that are to be forgotten are left out, as are rows without a usable answer. An id that comes
    again more than an hour after its first row has left that time counts as another row.
    """
    start = first_time(record, spec, now)
    outputs = count_outputs(spec.task, schema.classes)
    tables = [table for table in observations.predictions(spec.model_id, start, np.inf) if SLOTS in table.schema.names]
    distinct = deduplicate_rows(tables)
    older = distinct.select(np.arange(len(distinct))[:-MOST_ROWS])
    given_up = int(_to_learn(older, observations, record, start).sum()) if len(older) else 0
    distinct = distinct.select(np.arange(len(distinct))[-MOST_ROWS:])
    distinct = distinct.select(np.flatnonzero(_to_learn(distinct, observations, record, start)))
    said, width, layout = _gather_said(tables, distinct, outputs)
    scores = np.full((len(distinct), outputs), np.nan)
    for index, table in enumerate(tables):
        places = np.flatnonzero(distinct.table == index)
        answers, usable = encode_predictions(table.take(pa.array(distinct.row[places])), schema)
        answers = np.where(usable if answers.ndim == 1 else usable[:, None], answers, np.nan)
        scores[places] = answers.reshape(len(places), outputs)
    labels = labels_of(observations.labels(spec.model_id, start - EARLY_LABELS_S), schema)
    joined = join_labels(distinct.ids, distinct.time_us, labels)
    names = metric_columns(spec)
    outcomes = {name: values for name, values in joined.outcome.items() if name in names}
    columns = {**_read_columns(tables, distinct, names - outcomes.keys()), **outcomes}
    bounded = form.bound(scores[:, None])[:, 0]
    rows = MixtureRows(distinct.ids, distinct.time_us, layout, said, width, bounded, joined.y, columns)
    return replace(rows.where(np.isfinite(scores).all(axis=1) & (width > 0)), given_up=given_up)


def metric_columns(spec: ModelSpec) -> frozenset[str]:
    """The columns that the user's own metrics of a model read; none for one that is no expression."""
    names: set[str] = set()
    for text in spec.monitoring.business.values() if spec.monitoring is not None else ():
        with suppress(InvalidRequest):
            names.update(compile_expression(text).names)
    return frozenset(names)


def _read_columns(tables: Sequence[pa.Table], distinct: CountedRows, names: Collection[str]) -> dict[str, Vector]:
    """(rows,) numbers of recorded columns by name, NaN where a row has none."""
    columns = {name: np.full(len(distinct), np.nan) for name in sorted(names)}
    for index, table in enumerate(tables):
        places = np.flatnonzero(distinct.table == index)
        for name, values in columns.items():
            column = column_named(table, name)
            if column is not None and len(places):
                values[places] = read_numbers(column).numbers[distinct.row[places]]
    return columns


def first_time(record: MixtureRecord, spec: ModelSpec, now: float) -> float:
    """The time (POSIX seconds) of the oldest row that a pass reads.

    No row is given up while learning is held. After a clock that went back, all rows of the waiting time are read.
    """
    if now < record.looked_at:
        return min(record.held_since or now, now) - waiting_time_s(spec)
    return max(record.open_since, (record.held_since or record.looked_at or now) - waiting_time_s(spec))


def waiting_time_s(spec: ModelSpec) -> float:
    """Seconds after which a row without a label is given up: a day more than the label horizon, 30 days without one."""
    return spec.label_delay_s + EARLY_LABELS_S if spec.label_delay_s else UNKNOWN_DELAY_S


def learned_table(rows: MixtureRows, number: int) -> pa.Table:
    """The rows of a pass as the archive keeps them."""
    columns = {
        "id": rows.ids,
        "time": pa.array(rows.time_us).cast(pa.timestamp("us", "UTC")),
        _PASS: pa.array(np.full(len(rows), number, dtype=np.int64)),
        SLOTS: pa.array(rows.layout, pa.large_string()),
        _OUTCOME: pa.array(rows.y),
    }
    columns |= {f"{_SCORE}{at}": pa.array(np.ascontiguousarray(each)) for at, each in enumerate(rows.scores.T)}
    flat = rows.said.reshape(len(rows), -1)
    columns |= {f"said_{at}": pa.array(np.ascontiguousarray(each)) for at, each in enumerate(flat.T)}
    return pa.table(columns)


def read_learned_table(table: pa.Table, outputs: int) -> MixtureRows:
    """Rows of passes as the archive keeps them, in the order of the table."""
    said = np.column_stack([table[f"said_{at}"].to_numpy() for at in range(_count_columns(table, "said_"))])
    scores = np.column_stack([table[f"{_SCORE}{at}"].to_numpy() for at in range(outputs)])
    layout = table[SLOTS].to_pylist()
    width = np.array([len(RATES) + len(each.split(SEPARATOR)) + 1 + len(SHARES) for each in layout], dtype=np.int64)
    return MixtureRows(
        table["id"].combine_chunks(),
        table["time"].cast(pa.int64()).to_numpy(),
        layout,
        said.reshape(table.num_rows, -1, outputs),
        width,
        scores,
        table[_OUTCOME].to_numpy(),
    )


def _count_columns(table: pa.Table, prefix: str) -> int:
    return sum(name.startswith(prefix) for name in table.column_names)


def pack_table(table: pa.Table) -> str:
    """A table as base64 text."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd" if table.nbytes > _SMALL_BYTES else None)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode()


def unpack_table(text: str) -> pa.Table | None:
    """The table of a text by `pack_table`; None for an empty text."""
    return pa.ipc.open_stream(base64.b64decode(text)).read_all() if text else None


def _to_learn(distinct: CountedRows, observations: Observations, record: MixtureRecord, start: float) -> Mask:
    """(rows,): those that no pass has learned, and that are not to be forgotten."""
    tables = observations.learned_rows(record.model_id, start - _COPIES_WITHIN_S)
    pending = unpack_table(record.pending)
    known = concat_texts([table["id"] for table in (*tables, *([] if pending is None else [pending]))])
    fresh: Mask = ~pc.is_in(distinct.ids, value_set=known).to_numpy(zero_copy_only=False)
    return fresh & ~within_ranges(distinct.time_us, record.forgotten)


def within_ranges(time_us: Rows, ranges: Sequence[tuple[float, float]]) -> Mask:
    """(rows,): those of the time ranges, in POSIX seconds, whose ends do not count."""
    inside = np.zeros(len(time_us), dtype=np.bool_)
    for first, end in ranges:
        inside |= (time_us >= first * 1e6) & (time_us < end * 1e6)
    return inside


def _gather_said(tables: Sequence[pa.Table], distinct: CountedRows, outputs: int) -> tuple[Array, Rows, Sequence[str]]:
    """The slots' scores of each row, its width, 0 for a row that no mixture answered, and the names of its slots."""
    read = [read_said(table, outputs) for table in tables]
    widest = max((each[2].shape[1] for each in read if each is not None), default=0)
    said = np.full((len(distinct), widest, outputs), np.nan)
    width, layout = np.zeros(len(distinct), dtype=np.int64), np.full(len(distinct), "", dtype=np.object_)
    for index, each in enumerate(read):
        if each is None:
            continue
        slots, _, numbers = each
        places = np.flatnonzero(distinct.table == index)
        rows = distinct.row[places]
        said[places, : numbers.shape[1]] = numbers[rows]
        layout[places] = pc.fill_null(slots, "").take(pa.array(rows)).to_numpy(zero_copy_only=False)
        width[places] = np.where(layout[places] == "", 0, numbers.shape[1])
    return said, width, layout.tolist()
