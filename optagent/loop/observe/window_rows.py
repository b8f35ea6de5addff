"""Observe: from recorded rows to what analyses look at, and from rows with known labels to what those compare with."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from optagent.analysis.label_join import (
    CountedRows,
    JoinedLabels,
    Labels,
    choose,
    join_labels,
    microseconds,
    orphans,
    texts_of,
    thinned_by_id,
)
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.arrays import Mask, Vector
from optagent.domain.model import Task
from optagent.domain.monitoring import Window
from optagent.domain.quality import DataQuality, RowProblem
from optagent.errors import InvalidData
from optagent.ports import Observations
from optagent.training.encoding import Schema
from optagent.training.live_answers import encode_live_labels, encode_predictions
from optagent.training.live_rows import Counts, encode_live, merged_counts, model_matrix
from optagent.training.live_values import column_named, numbers_in
from optagent.training.predictor import Predictor

MOST_ROWS = 2_000_000
EARLY_LABELS_S = 86_400.0  # a label may be stamped before its prediction, by clocks that disagree
_LABEL, _VERSION, _LATENCY = "label", "version", "latency_ms"
_NOT_OUTCOMES = frozenset({"id", "time", _LABEL})


def observe(
    observations: Observations,
    model_id: str,
    schema: Schema,
    window: Window,
    version: str | None = None,
    most_rows: int = MOST_ROWS,
    unversioned: bool = True,
    earlier_s: float = 0.0,
) -> tuple[ObservedRows, DataQuality]:
    """The rows of a window, each once and with the label that is known of it, and what was wrong with them.

    With `version`, only the rows of that version; those that name none are the champion's, so ask for another version
    with `unversioned` false. Of more than `most_rows` those of the least hash of their ids are taken: then the quality
    counts all rows as `rows`, and everything else among the rows taken. The same rows and labels give the same answer,
    in whatever order, batches and copies they came, but for the counts of the copies. A label of the window is an
    orphan where there is no prediction of that id in the window, nor in the `earlier_s` before it.
    """
    tables = observations.predictions(model_id, window.start, window.end)
    keep = None if version is None else [_of_version(table, version, unversioned) for table in tables]
    every = choose(tables, keep)
    chosen = thinned_by_id(every, most_rows)
    rows, usable, columns = _encoded(tables, chosen, schema)
    labels = labels_of(observations.labels(model_id, window.start - EARLY_LABELS_S), schema)
    joined = join_labels(chosen.ids, chosen.time_us, labels)
    observed = _observed(chosen, rows, joined, schema).where(usable)
    problems = _by_row(chosen, joined, usable)
    within = (labels.time_us >= window.start * 1e6) & (labels.time_us < window.end * 1e6)
    candidates = labels.ids.filter(pa.array(within))
    problems[RowProblem.ORPHAN] = orphans(candidates, tables)
    if problems[RowProblem.ORPHAN] and earlier_s > 0:
        past = observations.predictions(model_id, window.start - earlier_s, window.start)
        problems[RowProblem.ORPHAN] = orphans(candidates, [*tables, *past])
    for found in columns.values():
        problems.update(found)
    return observed, DataQuality(
        rows=len(every),
        labelled=int(observed.has_label.sum()),
        problems={problem: problems[problem] for problem in RowProblem if problems[problem]},
        columns=columns,
        sampled=len(chosen) if len(chosen) < len(every) else None,
    )


def observed_columns(schema: Schema) -> tuple[ObservedColumn, ...]:
    return tuple(ObservedColumn(column.name, str(column.kind), column.categories) for column in schema.columns)


def observed_from(table: pa.Table, time: Vector | None, predictor: Predictor) -> ObservedRows:
    """Rows with known labels, in the column of the target, and what a model says of them.

    Values that cannot be read are missing, as they are in live rows. `time` (rows,) are POSIX seconds; without it, rows
    are a second apart in the order of the table.
    """
    schema = predictor.schema
    x, _ = encode_live(table, schema)
    target = column_named(table, schema.target)
    if target is None:
        raise InvalidData(f"a reference needs the target: no column {schema.target!r}")
    y, _ = encode_live_labels(target, schema)
    seconds = np.arange(table.num_rows, dtype=np.float64) if time is None else np.asarray(time, dtype=np.float64)
    if seconds.shape != (table.num_rows,) or not np.isfinite(seconds).all():
        raise InvalidData(f"a reference needs a finite time for each of its {table.num_rows} rows")
    order = np.argsort(seconds, kind="stable")
    return ObservedRows(
        task=schema.task,
        columns=observed_columns(schema),
        x=x[order],
        prediction=predictor.scores(model_matrix(x, schema))[order],
        y=y[order],
        time=seconds[order],
        latency_ms=np.full(table.num_rows, np.nan),
        n_classes=len(schema.classes),
    )


def _of_version(table: pa.Table, version: str, unversioned: bool) -> Mask:
    values = column_named(table, _VERSION)
    if values is None:
        return np.full(table.num_rows, unversioned)
    texts = pc.cast(values, pa.large_string())
    return np.asarray(pc.fill_null(pc.equal(texts, version), unversioned).to_numpy(), dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    x: npt.NDArray[np.float32]
    prediction: npt.NDArray[np.float64]
    latency_ms: Vector


def _encoded(tables: Sequence[pa.Table], chosen: CountedRows, schema: Schema) -> tuple[_Rows, Mask, Counts]:
    """The chosen rows encoded, those whose prediction can be used, and the problems of their columns."""
    count = len(chosen)
    width = (len(schema.classes),) if schema.task is Task.MULTICLASS else ()
    rows = _Rows(
        x=np.empty((count, len(schema.columns)), dtype=np.float32),
        prediction=np.empty((count, *width)),
        latency_ms=np.full(count, np.nan),
    )
    usable = np.zeros(count, dtype=np.bool_)
    counts = []
    for index, table in enumerate(tables):
        mine = np.flatnonzero(chosen.table == index)
        if not len(mine):
            continue
        part = table.take(pa.array(chosen.row[mine]))
        rows.x[mine], found = encode_live(part, schema)
        rows.prediction[mine], usable[mine] = encode_predictions(part, schema)
        latency = column_named(part, _LATENCY)
        if latency is not None:
            numbers = numbers_in(latency).numbers
            rows.latency_ms[mine] = np.where(np.isfinite(numbers) & (numbers >= 0), numbers, np.nan)
        counts.append(found)
    return rows, usable, merged_counts(counts)


def labels_of(tables: Sequence[pa.Table], schema: Schema) -> Labels:
    """Every label that came, encoded, with the outcomes that any of them has."""
    names = sorted({name for table in tables for name in table.schema.names} - _NOT_OUTCOMES)
    y, unusable, times = [np.empty(0)], [np.empty(0, dtype=np.bool_)], [np.empty(0, dtype=np.int64)]
    outcome: dict[str, list[Vector]] = {name: [np.empty(0)] for name in names}
    for table in tables:
        given = column_named(table, _LABEL)
        values = pa.chunked_array([pa.nulls(table.num_rows)]) if given is None else given
        found, bad = encode_live_labels(values, schema)
        y.append(found)
        unusable.append(bad)
        times.append(microseconds(table.column("time")))
        for name in names:
            values = column_named(table, name)
            numbers = np.full(table.num_rows, np.nan) if values is None else numbers_in(values).numbers
            outcome[name].append(np.where(np.isinf(numbers), np.nan, numbers))
    joined = {name: np.concatenate(parts) for name, parts in outcome.items()}
    return Labels(
        ids=texts_of([table.column("id") for table in tables]),
        time_us=np.concatenate(times),
        y=np.concatenate(y),
        unusable=np.concatenate(unusable),
        outcome={name: values for name, values in joined.items() if not np.isnan(values).all()},
    )


def _observed(chosen: CountedRows, rows: _Rows, joined: JoinedLabels, schema: Schema) -> ObservedRows:
    return ObservedRows(
        task=schema.task,
        columns=observed_columns(schema),
        x=rows.x,
        prediction=rows.prediction,
        y=joined.y,
        time=chosen.time_us / 1e6,
        latency_ms=rows.latency_ms,
        n_classes=len(schema.classes),
        outcome=joined.outcome,
    )


def _by_row(chosen: CountedRows, joined: JoinedLabels, usable: Mask) -> Counter[RowProblem]:
    return Counter(
        {
            RowProblem.DUPLICATE: int(chosen.copies.sum()),
            RowProblem.UNUSABLE_PREDICTION: int((~usable).sum()),
            RowProblem.DUPLICATE_LABEL: int(joined.copies.sum()),
            RowProblem.CONFLICTING: int(joined.conflicting.sum()),
            RowProblem.SKEWED: int(joined.skewed.sum()),
            RowProblem.UNUSABLE_LABEL: int(joined.unusable.sum()),
        }
    )
