"""Reference profile: the bins on which live rows are counted, with the counts from when the model was good."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from optagent.analysis.column_groups import ColumnGroups
from optagent.analysis.drift_design import block_lengths, reference_effects
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.analysis.profile_bins import Bins, code_edges, count_values, quantile_edges
from optagent.analysis.reference_series import (
    MOST_BUCKETS,
    WEEK_S,
    ReferenceSeries,
    bucket_width_s,
    clock_span,
    pack_series,
)
from optagent.arrays import Counts, Matrix
from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest

ORDERED = ("numeric", "datetime")
KINDS = (*ORDERED, "boolean", "categorical")
PREDICTION = "prediction"
LABEL = "prediction:label"

_BINS_OF_ALL_CLASSES = 1280
_NEARLY = 0.9  # of a week: its first and last row lie within it


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column of the reference.

    `counts` are by bin: below the first of `edges`, between each two, and from the last one on; for categories and
    booleans they are by code, the last being that of unknown codes. Infinite values are `missing`. `design` and
    `design_missing` are the design effects of values and of missingness by the profile's `blocks`.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    missing: int = 0
    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    design: tuple[float, ...] = ()
    design_missing: tuple[float, ...] = ()

    @property
    def is_ordered(self) -> bool:
        return self.kind in ORDERED

    @property
    def unit(self) -> float:
        """The unit of distances: the standard deviation, and for a constant its size, or 1."""
        return self.std or abs(self.mean or 0.0) or 1.0


@dataclass(frozen=True, slots=True)
class Profile:
    """The reference as plain data. `blocks` are the lengths, in rows, of the blocks of the design effects.

    `predictions` are columns too: `prediction`, or `prediction:<class index>` of a multiclass model, and of
    classifiers the share of predicted classes as `prediction:label`. `span` are the instants of the first and the last
    row, None for rows without; `series` is there for those of a week or longer.
    """

    task: Task
    rows: int
    n_classes: int
    features: tuple[ColumnProfile, ...]
    predictions: tuple[ColumnProfile, ...]
    blocks: tuple[int, ...] = ()
    span: tuple[float, float] | None = None
    series: ReferenceSeries | None = None

    @property
    def columns(self) -> tuple[ColumnProfile, ...]:
        return (*self.features, *self.predictions)


def make_profile(observed: ObservedRows, bins: int = 128) -> Profile:
    """The profile of reference rows; InvalidData without rows, or for a column of unknown kind."""
    if not len(observed):
        raise InvalidData("a reference needs at least one row")
    if not 4 <= bins <= 1000:
        raise InvalidRequest(f"bins must be between 4 and 1000, got {bins}")
    outputs = output_columns(observed.task, observed.n_classes)
    output_bins = max(8, min(bins, _BINS_OF_ALL_CLASSES // max(1, observed.n_classes)))
    answers = outputs_of(observed)
    binned_columns = [_fit_bins(column, observed.x[:, place], bins) for place, column in enumerate(observed.columns)]
    binned_columns += [_fit_bins(column, answers[:, place], output_bins) for place, column in enumerate(outputs)]
    lengths = block_lengths(len(observed))
    layout = bins_of(binned_columns)
    starts = np.arange(0, len(observed), lengths[0] if lengths else len(observed))
    block_counts = count_values((observed.x, answers), starts, layout)
    columns = [_with_counts(*each, block_counts, lengths) for each in zip(binned_columns, layout, strict=True)]
    split = len(observed.columns)
    return Profile(
        task=observed.task,
        rows=len(observed),
        n_classes=observed.n_classes,
        features=tuple(columns[:split]),
        predictions=tuple(columns[split:]),
        blocks=lengths,
        span=clock_span(observed.time),
        series=_series_of(observed, answers, layout, groups_of(columns)),
    )


def groups_of(columns: Sequence[ColumnProfile]) -> ColumnGroups:
    """The groups of bins whose shares are compared window by window."""
    return ColumnGroups.of([(np.array(column.counts, dtype=np.int64), column.is_ordered) for column in columns])


def bins_of(columns: Sequence[ColumnProfile]) -> tuple[Bins, ...]:
    """The place of each column's bins in a flat array of counts."""
    layout: list[Bins] = []
    for column in columns:
        first = layout[-1].stop if layout else 0
        layout.append(Bins(column.edges, first, column.mean or 0.0, column.unit if column.is_ordered else 0.0))
    return tuple(layout)


def output_columns(task: Task, n_classes: int) -> tuple[ObservedColumn, ...]:
    """The model's answer as columns."""
    names = [f"{PREDICTION}:{index}" for index in range(n_classes)] if task is Task.MULTICLASS else [PREDICTION]
    columns = [ObservedColumn(name, "numeric") for name in names]
    if task.classifies:
        columns.append(ObservedColumn(LABEL, "categorical", tuple(str(index) for index in range(max(2, n_classes)))))
    return tuple(columns)


def outputs_of(observed: ObservedRows) -> Matrix:
    """The model's answers as (rows, output columns) float32."""
    prediction = observed.prediction.reshape(len(observed), -1)
    with np.errstate(over="ignore"):
        if not observed.task.classifies:
            return prediction.astype(np.float32)
        if observed.task is Task.BINARY:
            label = (prediction[:, 0] >= 0.5).astype(np.float32)
        else:
            label = prediction.argmax(axis=1).astype(np.float32)
        label[~np.isfinite(prediction).all(axis=1)] = np.nan
        return np.column_stack([prediction.astype(np.float32), label])


def _series_of(
    observed: ObservedRows, answers: Matrix, layout: tuple[Bins, ...], groups: ColumnGroups
) -> ReferenceSeries | None:
    """Counts by bucket of the clock, of the newest 400 buckets; None for less than a week of instants."""
    span = clock_span(observed.time)
    if span is None or span[1] - span[0] < _NEARLY * WEEK_S:
        return None
    width_s = bucket_width_s(span[1] - span[0])
    number = np.floor(observed.time / width_s).astype(np.int64)
    first = max(int(number[0]), int(number[-1]) - MOST_BUCKETS + 1)
    start = int(np.searchsorted(number, first))
    number = number[start:] - first
    starts = np.concatenate([[0], np.flatnonzero(np.diff(number)) + 1])
    series = np.zeros((int(number[-1]) + 1, groups.width), dtype=np.int64)
    series[number[starts]] = groups.join(count_values((observed.x[start:], answers[start:]), starts, layout))
    return pack_series(width_s, first, series)


def _fit_bins(column: ObservedColumn, values: Matrix, bins: int) -> ColumnProfile:
    if column.kind not in KINDS:
        raise InvalidData(f"column {column.name!r}: unknown kind {column.kind!r}; one of {list(KINDS)}")
    finite = values[np.isfinite(values)]
    if column.kind not in ORDERED:
        labels = column.labels or (("false", "true") if column.kind == "boolean" else ())
        return ColumnProfile(column.name, column.kind, labels, code_edges(len(labels)))
    edges = quantile_edges(finite, bins)
    if not len(finite):
        return ColumnProfile(column.name, column.kind)
    return ColumnProfile(
        name=column.name,
        kind=column.kind,
        edges=edges,
        mean=float(finite.mean(dtype=np.float64)),
        std=float(finite.std(dtype=np.float64)),
        low=float(finite.min()),
        high=float(finite.max()),
    )


def _with_counts(column: ColumnProfile, bins: Bins, counts: Counts, lengths: tuple[int, ...]) -> ColumnProfile:
    """The column with its counts and design effects, from the (blocks, size) counts of blocks of rows."""
    missing, values = counts[:, bins.first], counts[:, bins.first + 1 : bins.stop]
    rows = missing + values.sum(axis=1)
    full = rows == rows[0]  # the last block may be short
    present = np.column_stack([missing, rows - missing])
    return replace(
        column,
        counts=tuple(values.sum(axis=0).tolist()),
        missing=int(missing.sum()),
        design=reference_effects(values[full], len(lengths), column.is_ordered),
        design_missing=reference_effects(present[full], len(lengths), False),
    )
