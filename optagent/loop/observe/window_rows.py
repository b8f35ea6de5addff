"""Observed rows of a window: recorded predictions joined with their labels, encoded for analysis."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from optagent.analysis.label_join import (
    CountedRows,
    JoinedLabels,
    Labels,
    concat_texts,
    count_orphans,
    deduplicate_rows,
    join_labels,
    microseconds,
    sample_by_id,
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
from optagent.training.live_rows import Counts, encode_live, merge_counts, model_matrix
from optagent.training.live_values import column_named, read_numbers
from optagent.training.predictor import Predictor

MOST_ROWS = 2_000_000
MOST_EARLIER_ROWS = 20_000
EARLY_LABELS_S = 86_400.0  # a label may be stamped before its prediction, by clocks that disagree
_MOST_OUTCOMES = 100
_LABEL, _VERSION, _LATENCY = "label", "version", "latency_ms"
_NOT_OUTCOMES = frozenset({"id", "time", _LABEL})


def observe_window(
    observations: Observations,
    model_id: str,
    schema: Schema,
    window: Window,
    version: str | None = None,
    most_rows: int = MOST_ROWS,
    unversioned: bool = True,
    earlier_s: float = 0.0,
) -> tuple[ObservedRows, DataQuality]:
    """The rows of a window, each once and with its label where known, and the data problems among them.

    With `version`, only the rows of that version. Rows that name no version belong to the champion, so pass
    `unversioned` false for any other version. Of more than `most_rows` rows, those with the least hash of their ids are
    kept: then the quality counts all rows as `rows`, and everything else among the kept ones. The same rows and labels
    give the same result, whatever their order, batches and copies, except for the counts of copies. A label of the
    window is an orphan where there is no prediction of that id in the window, nor in the `earlier_s` before it.
    """
    tables = observations.predictions(model_id, window.start, window.end)
    keep = None if version is None else [_rows_of_version(table, version, unversioned) for table in tables]
    distinct = deduplicate_rows(tables, keep)
    sample = sample_by_id(distinct, most_rows)
    rows, usable, columns = _encode_rows(tables, sample, schema)
    labels = labels_of(observations.labels(model_id, window.start - EARLY_LABELS_S), schema)
    joined = join_labels(sample.ids, sample.time_us, labels)
    observed = _build_observed_rows(sample, rows, joined.y, joined.outcome, schema).where(usable)
    problems = _row_problems(sample, joined, usable)
    within = (labels.time_us >= window.start * 1e6) & (labels.time_us < window.end * 1e6)
    candidates = labels.ids.filter(pa.array(within))
    problems[RowProblem.ORPHAN] = count_orphans(candidates, tables)
    if problems[RowProblem.ORPHAN] and earlier_s > 0:
        past = observations.predictions(model_id, window.start - earlier_s, window.start)
        problems[RowProblem.ORPHAN] = count_orphans(candidates, [*tables, *past])
    for problems_of_column in columns.values():
        problems.update(problems_of_column)
    return observed, DataQuality(
        rows=len(distinct),
        labelled=int(observed.has_label.sum()),
        problems={problem: problems[problem] for problem in RowProblem if problems[problem]},
        columns=columns,
        sampled=len(sample) if len(sample) < len(distinct) else None,
    )


def observe_predictions(
    observations: Observations,
    model_id: str,
    schema: Schema,
    version: str | None,
    unversioned: bool,
    window: Window,
) -> ObservedRows:
    """The rows of a window as `observe_window` has them, without labels: at most 20,000, enough to tell its shares."""
    tables = observations.predictions(model_id, window.start, window.end)
    keep = None if version is None else [_rows_of_version(table, version, unversioned) for table in tables]
    sample = sample_by_id(deduplicate_rows(tables, keep), MOST_EARLIER_ROWS)
    rows, usable, _ = _encode_rows(tables, sample, schema)
    return _build_observed_rows(sample, rows, np.full(len(sample), np.nan), {}, schema).where(usable)


def observed_columns(schema: Schema) -> tuple[ObservedColumn, ...]:
    """The columns of a schema as observed rows name them."""
    return tuple(ObservedColumn(column.name, str(column.kind), column.categories) for column in schema.columns)


def observed_from_table(table: pa.Table, time: Vector | None, predictor: Predictor) -> ObservedRows:
    """Rows with known labels, in the column of the target, and the predictions of a model for them.

    Unreadable values are missing, as they are in live rows. `time` (rows,) are POSIX seconds; without it, rows are a
    second apart in the order of the table.
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


def _rows_of_version(table: pa.Table, version: str, unversioned: bool) -> Mask:
    values = column_named(table, _VERSION)
    if values is None:
        return np.full(table.num_rows, unversioned)
    texts = pc.cast(values, pa.large_string())
    return np.asarray(pc.fill_null(pc.equal(texts, version), unversioned).to_numpy(), dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class _EncodedRows:
    x: npt.NDArray[np.float32]
    prediction: npt.NDArray[np.float64]
    latency_ms: Vector


def _encode_rows(tables: Sequence[pa.Table], sample: CountedRows, schema: Schema) -> tuple[_EncodedRows, Mask, Counts]:
    """The chosen rows encoded, a mask of those with a usable prediction, and the problems of their columns."""
    count = len(sample)
    width = (len(schema.classes),) if schema.task is Task.MULTICLASS else ()
    rows = _EncodedRows(
        x=np.empty((count, len(schema.columns)), dtype=np.float32),
        prediction=np.empty((count, *width)),
        latency_ms=np.full(count, np.nan),
    )
    usable = np.zeros(count, dtype=np.bool_)
    counts = []
    for index, table in enumerate(tables):
        places = np.flatnonzero(sample.table == index)
        if not len(places):
            continue
        part = table.take(pa.array(sample.row[places]))
        rows.x[places], problems = encode_live(part, schema)
        rows.prediction[places], usable[places] = encode_predictions(part, schema)
        latency = column_named(part, _LATENCY)
        if latency is not None:
            numbers = read_numbers(latency).numbers
            rows.latency_ms[places] = np.where(np.isfinite(numbers) & (numbers >= 0), numbers, np.nan)
        counts.append(problems)
    return rows, usable, merge_counts(counts)


def labels_of(tables: Sequence[pa.Table], schema: Schema) -> Labels:
    """Every recorded label, encoded, with the outcomes that any of them has: of more than 100, those of most rows."""
    y, unusable, times = [np.empty(0)], [np.empty(0, dtype=np.bool_)], [np.empty(0, dtype=np.int64)]
    count = sum(table.num_rows for table in tables)
    joined = {name: np.full(count, np.nan) for name in _outcome_names(tables)}
    start = 0
    for table in tables:
        end = start + table.num_rows
        column = column_named(table, _LABEL)
        values = pa.chunked_array([pa.nulls(table.num_rows)]) if column is None else column
        encoded, unusable_part = encode_live_labels(values, schema)
        y.append(encoded)
        unusable.append(unusable_part)
        times.append(microseconds(table.column("time")))
        for name in joined.keys() & set(table.schema.names):
            numbers = read_numbers(table.columns[table.schema.names.index(name)]).numbers
            joined[name][start:end] = np.where(np.isinf(numbers), np.nan, numbers)
        start = end
    return Labels(
        ids=concat_texts([table.column("id") for table in tables]),
        time_us=np.concatenate(times),
        y=np.concatenate(y),
        unusable=np.concatenate(unusable),
        outcome={name: values for name, values in joined.items() if not np.isnan(values).all()},
    )


def _outcome_names(tables: Sequence[pa.Table]) -> list[str]:
    """The names of outcomes, in order: each becomes a column of all labels, so a client must not make any number."""
    rows = Counter[str]()
    for table in tables:
        rows.update(dict.fromkeys(set(table.schema.names) - _NOT_OUTCOMES, table.num_rows))
    return sorted(sorted(rows, key=lambda name: (-rows[name], name))[:_MOST_OUTCOMES])


def _build_observed_rows(
    sample: CountedRows, rows: _EncodedRows, y: Vector, outcome: Mapping[str, Vector], schema: Schema
) -> ObservedRows:
    return ObservedRows(
        task=schema.task,
        columns=observed_columns(schema),
        x=rows.x,
        prediction=rows.prediction,
        y=y,
        time=sample.time_us / 1e6,
        latency_ms=rows.latency_ms,
        n_classes=len(schema.classes),
        outcome=outcome,
    )


def _row_problems(sample: CountedRows, joined: JoinedLabels, usable: Mask) -> Counter[RowProblem]:
    return Counter(
        {
            RowProblem.DUPLICATE: int(sample.copies.sum()),
            RowProblem.UNUSABLE_PREDICTION: int((~usable).sum()),
            RowProblem.DUPLICATE_LABEL: int(joined.copies.sum()),
            RowProblem.CONFLICTING: int(joined.conflicting.sum()),
            RowProblem.SKEWED: int(joined.skewed.sum()),
            RowProblem.UNUSABLE_LABEL: int(joined.unusable.sum()),
        }
    )
