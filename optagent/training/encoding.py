"""Feature encoding: a schema, learned once and then only applied, turns a table into the matrix families learn from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from optagent.arrays import Matrix, Rows, Vector
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.columns import Kind, kind_of, require_columns
from optagent.training.history.plan import SINCE, HistoryPlan
from optagent.training.history.table import plan_history
from optagent.training.metrics import quantile_of
from optagent.training.pandas_index import index_columns
from optagent.training.problem import Data, span_of
from optagent.training.target import Label, encode_labels, learn_classes
from optagent.training.values import Coder, as_column

MAX_CATEGORIES = 254
"""Categories of a column that keep a level of their own; with the level of the others, 255 fit any family's bins."""

_MOST_DIFFERENT = 0.5  # of the texts of a column of categories, as a share


@dataclass(frozen=True, slots=True)
class FeatureColumn:
    """A feature. `categories` are in the order of their codes; with `other`, one more level takes all the rest."""

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    other: bool = False

    @property
    def levels(self) -> int:
        return len(self.categories) + self.other


@dataclass(frozen=True, slots=True)
class Schema:
    """The mapping from a table to a matrix; plain data, stored as JSON beside the model.

    `classes` are in the order of the class indexes (the positive class of a binary model last), empty for regressions.
    `history` makes some of the columns, of earlier rows.
    """

    columns: tuple[FeatureColumn, ...]
    target: str
    task: Task
    classes: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    history: HistoryPlan | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def columns_of(spec: ModelSpec) -> tuple[str, ...] | None:
    """The columns of its data that a model needs; None for all of them."""
    if not spec.features:
        return None
    time = (spec.time_column,) if spec.time_column else ()
    named = [name for name in (spec.entity, spec.history and spec.history.key) if name]
    return tuple(dict.fromkeys((*spec.features, spec.target, *time, *named, *spec.sensitive_columns)))


def target_schema(table: pa.Table, spec: ModelSpec) -> Schema:
    """A schema of the target alone, without features, which is all that a split needs."""
    try:
        require_columns([spec.target], table.schema.names, "target")
    except InvalidData as error:
        raise InvalidData(f"{error}; optagent init ID ROWS --target COLUMN takes another") from None
    classes = learn_classes(table.column(spec.target), spec)
    return Schema(columns=(), target=spec.target, task=spec.task, classes=classes)


def fit_schema(table: pa.Table, spec: ModelSpec, rows: Rows | None = None) -> Schema:
    """The schema learned from `rows` of the table (by default all), so that no holdout row takes part.

    Only the classes are learned from the whole table. Columns without a value or with a single one, and the index of a
    pandas frame that `features` does not name, are left out, and a note says so.
    """
    notes = [f"ignore: there is no column {name!r}" for name in spec.ignore if name not in table.schema.names]
    notes += [
        f"{name or 'the first column, which has no name'}: left out, it is the index of a pandas frame; name it in"
        " features to learn from it"
        for name in _index_left_out(table, spec)
    ]
    candidates = [_fit_column(_rows_of(table.column(name), rows), name, notes) for name in _feature_names(table, spec)]
    columns = tuple(column for column in candidates if column is not None)
    if not columns:
        raise InvalidData(f"features: no column is left to learn from; {'; '.join(notes) or 'there is none'}")
    history = plan_history(table, spec) if SINCE in table.schema.names else None
    return replace(target_schema(table, spec), columns=columns, notes=tuple(notes), history=history)


def encode(table: pa.Table, schema: Schema, rows: Rows | None = None) -> Matrix:
    """The features (of all rows, or of `rows`) as (rows, columns) float32, C-ordered; other columns are ignored.

    NaN stands for missing values and for categories that the schema does not know, unless it has an `other` level.
    Raises InvalidData for a column that is absent, or that holds texts or infinite values where numbers are needed.
    """
    require_columns(schema.names, table.schema.names, "features")
    x = np.empty((table.num_rows if rows is None else len(rows), len(schema.columns)), dtype=np.float32)
    for index, column in enumerate(schema.columns):
        values = _rows_of(table.column(column.name), rows)
        coder = Coder(column.name, column.kind, column.categories, column.other)
        coder.fill(x[:, index], values, rows)
    return x


def encode_target(table: pa.Table, schema: Schema) -> tuple[Vector, npt.NDArray[np.bool_]]:
    """The target of the rows that have one, and the mask of these rows among the table's."""
    require_columns([schema.target], table.schema.names, "target")
    return encode_labels(table.column(schema.target), schema.target, schema.task, schema.classes)


def load_data(table: pa.Table, schema: Schema, class_weight: str = "none", metric: str = "") -> Data:
    """The table as `Data`, without the rows that have no target; the model's `metric` says what it is to answer."""
    y, has_target = encode_target(table, schema)
    categorical = tuple(index for index, column in enumerate(schema.columns) if column.kind is Kind.CATEGORICAL)
    return Data(
        x=encode(table, schema, None if has_target.all() else np.flatnonzero(has_target)),
        y=y,
        names=schema.names,
        task=schema.task,
        categorical=categorical,
        levels=tuple(schema.columns[index].levels for index in categorical),
        n_classes=len(schema.classes),
        weight=balanced_weights(y, len(schema.classes)) if class_weight == "balanced" else None,
        quantile=quantile_of(metric),
    )


def balanced_weights(y: Vector, n_classes: int) -> Vector:
    """rows / (classes · rows of the class), as scikit-learn's `balanced`: every class weighs the same in sum."""
    counts = np.bincount(y.astype(np.int64), minlength=n_classes)
    return (len(y) / (n_classes * np.maximum(counts, 1)))[y.astype(np.int64)]


def _feature_names(table: pa.Table, spec: ModelSpec) -> Sequence[str]:
    names = table.schema.names
    require_columns(spec.sensitive_columns, names, "sensitive_columns")
    if spec.features:
        sensitive = sorted(set(spec.features) & set(spec.sensitive_columns))
        if sensitive:
            raise InvalidRequest(f"features: {sensitive} are sensitive columns, which are never learned from")
        require_columns(spec.features, names, "features")
        plan = plan_history(table, spec) if SINCE in names else None
        return spec.features if plan is None else (*spec.features, *plan.names)
    excluded = {*_columns_of_other_use(spec), *_index_left_out(table, spec)}
    return [name for name in names if name not in excluded and kind_of(table.schema.field(name).type) is not None]


def _columns_of_other_use(spec: ModelSpec) -> set[str | None]:
    key = spec.history.key if spec.history else None
    return {spec.target, spec.time_column, spec.entity, key, *spec.sensitive_columns, *spec.ignore}


def _index_left_out(table: pa.Table, spec: ModelSpec) -> list[str]:
    """The index columns that would be features, had the frame had them as columns."""
    if spec.features:
        return []
    return [name for name in index_columns(table.schema) if name not in _columns_of_other_use(spec)]


def _rows_of(column: pa.ChunkedArray, rows: Rows | None) -> pa.ChunkedArray:
    if rows is None:
        return column
    return column.take(pa.array(rows)) if span_of(rows) is None else column.slice(int(rows[0]), len(rows))


def _fit_column(values: pa.ChunkedArray, name: str, notes: list[str]) -> FeatureColumn | None:
    kind = kind_of(values.type)
    if kind is None:
        raise InvalidData(f"features: column {name!r} is of type {values.type}, which is not supported")
    values = as_column(values, kind)
    if kind is Kind.CATEGORICAL:
        return _fit_categories(values, name, notes)
    bounds = pc.min_max(values)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None or low != low or low == high:  # NaN differs from itself
        notes.append(_left_out_note(name, values=0 if low is None or low != low else 1))
        return None
    return FeatureColumn(name, kind)


def _fit_categories(values: pa.ChunkedArray, name: str, notes: list[str]) -> FeatureColumn | None:
    present = values.drop_null()
    counts = pa.table(pc.value_counts(present).flatten(), ["value", "count"])
    if len(counts) < 2:
        notes.append(_left_out_note(name, values=len(counts)))
        return None
    order = [("count", "descending"), ("value", "ascending")]
    most_frequent = counts["value"].take(pc.select_k_unstable(counts, MAX_CATEGORIES, order)).to_pylist()
    if len(counts) > MAX_CATEGORIES:
        notes.append(f"{name}: {len(counts):,} categories, the {MAX_CATEGORIES} most frequent are kept apart")
    if len(counts) > max(MAX_CATEGORIES, _MOST_DIFFERENT * len(present)):
        notes[-1] += f"; in {len(present):,} rows that looks like ids or free text, which ignore leaves out"
    return FeatureColumn(name, Kind.CATEGORICAL, tuple(most_frequent), other=len(counts) > MAX_CATEGORIES)


def _left_out_note(name: str, values: int) -> str:
    return f"{name}: left out, it holds {'one value only' if values else 'no value'}"
