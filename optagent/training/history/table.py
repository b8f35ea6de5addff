"""History of tables: each row's lags, rolling means and gap, from the earlier rows of its key in the same table."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.arrays import Codes, Matrix64, Vector
from optagent.domain.model import ModelSpec
from optagent.errors import InvalidData
from optagent.training.columns import Kind, kind_of, require_columns
from optagent.training.history.plan import HistoryPlan
from optagent.training.history.series import history_matrix
from optagent.training.pandas_index import index_columns
from optagent.training.row_times import comparable_times, is_numeric_time
from optagent.training.values import as_column


def ensure_history(table: pa.Table, spec: ModelSpec) -> pa.Table:
    """The table with the columns of the model's history, which are computed where it lacks one of them."""
    plan = plan_history(table, spec)
    return table if plan is None or set(plan.names) <= set(table.schema.names) else with_history(table, plan)


def complete_history(table: pa.Table, spec: ModelSpec) -> pa.Table:
    """The table with the columns of the model's history, computed anew for values that it lacks."""
    plan = plan_history(table, spec)
    return table if plan is None else with_history(table, plan)


def plan_history(table: pa.Table, spec: ModelSpec) -> HistoryPlan | None:
    """The plan of a model over the columns of a table, None for a model without history; raises InvalidData."""
    history = spec.history
    if history is None or spec.time_column is None:
        return None
    names = table.schema.names
    require_columns([spec.time_column, *([history.key] if history.key else [])], names, "history")
    columns = history.columns or tuple(name for name in _possible_features(table, spec) if _is_numeric(table, name))
    require_columns(columns, names, "history: columns")
    texts = [name for name in columns if not _is_numeric(table, name)]
    if texts:
        raise InvalidData(f"history: columns: {texts[0]!r} is of type {table.schema.field(texts[0]).type}, not numeric")
    if not columns:
        raise InvalidData("history: no numeric feature has a past; name columns, or leave history out")
    numeric_time = is_numeric_time(table.schema.field(spec.time_column).type)
    return HistoryPlan(spec.time_column, columns, history.key, history.lags, history.rolling, numeric_time)


def with_history(table: pa.Table, plan: HistoryPlan) -> pa.Table:
    """The table with the columns of a plan; values that it has in them already are kept.

    Raises InvalidData for a column that is missing, or that is no time, key or number.
    """
    require_columns([plan.time, *plan.columns, *([plan.key] if plan.key else [])], table.schema.names, "history")
    time = comparable_times(table.column(plan.time), plan.time)
    values = np.column_stack([numbers_of(table.column(name), name) for name in plan.columns])
    return with_columns(table, plan, history_matrix(plan, key_codes(table, plan.key), time, values))


def with_columns(table: pa.Table, plan: HistoryPlan, matrix: Matrix64) -> pa.Table:
    """The table with the columns of a plan from (rows, names of the plan) numbers, but for values that it has."""
    for at, name in enumerate(plan.names):
        computed = pa.chunked_array([pa.array(np.ascontiguousarray(matrix[:, at]), from_pandas=True)])
        place = table.schema.get_field_index(name)
        if place < 0:
            table = table.append_column(name, computed)
        else:
            present = pc.cast(table.column(place), pa.float64())
            present = pc.if_else(pc.is_nan(present), None, present)
            table = table.set_column(place, name, pc.coalesce(present, computed))
    return table


def key_codes(table: pa.Table, key: str | None) -> Codes:
    """(rows,) the number of each row's series; -1 for a row without a key, which has no past."""
    if key is None:
        return np.zeros(table.num_rows, dtype=np.int64)
    codes = pc.dictionary_encode(key_texts(table.column(key), key)).unify_dictionaries().combine_chunks()
    if isinstance(codes, pa.ChunkedArray):
        codes = codes.chunk(0)
    return np.asarray(codes.indices.fill_null(-1), dtype=np.int64)


def key_texts(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The keys of rows as texts, as served rows have them; raises InvalidData for what is no text or whole number."""
    if pa.types.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    kind = kind_of(values.type)
    if pa.types.is_floating(values.type):
        try:
            values = pc.cast(pc.if_else(pc.is_nan(values), None, values), pa.int64())
        except pa.ArrowInvalid:
            kind = None
    if kind not in (Kind.CATEGORICAL, Kind.NUMERIC) or pa.types.is_decimal(values.type):
        raise InvalidData(f"history: the key {name!r} needs texts or whole numbers, it is of type {values.type}")
    return pc.cast(values, pa.large_string())


def key_text(value: Any) -> str | None:
    """The key of one row as `key_texts` has it, None for a missing one; raises ValueError for what is no key."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError
    return str(value)


def _possible_features(table: pa.Table, spec: ModelSpec) -> list[str]:
    """The columns whose past counts where none is named."""
    assert spec.history is not None
    names = table.schema.names
    if spec.features:
        return [name for name in spec.features if name in names and name != spec.history.key]
    used = {spec.target, spec.time_column, spec.entity, spec.history.key, *spec.sensitive_columns, *spec.ignore}
    computed = HistoryPlan(spec.time_column or "", tuple(names), None, spec.history.lags, spec.history.rolling).names
    left_out = {*used, *computed, *index_columns(table.schema)}
    return [name for name in names if name not in left_out]


def _is_numeric(table: pa.Table, name: str) -> bool:
    return kind_of(table.schema.field(name).type) is Kind.NUMERIC


def numbers_of(values: pa.ChunkedArray, name: str) -> Vector:
    """(rows,) the numbers in a column of this name, NaN where there is none; raises InvalidData for other types."""
    if kind_of(values.type) not in (Kind.NUMERIC, Kind.BOOLEAN):
        raise InvalidData(f"history: column {name!r} is of type {values.type}, not numeric")
    return np.asarray(pc.fill_null(as_column(values, Kind.NUMERIC), np.nan).to_numpy(), dtype=np.float64)
