"""Live columns: values as they come in from outside, read as numbers as far as possible; problems are marked."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.arrays import Mask, Vector
from optagent.domain.quality import RowProblem
from optagent.training.columns import Kind, kind_of
from optagent.training.encoding import FeatureColumn
from optagent.training.values import days, timestamps

NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
_NO_VALUE = r"(?i)^(nan|null|none|na|n/a)?$"
_INFINITY = r"(?i)^[+-]?inf(inity)?$"
_TRUE, _FALSE = r"(?i)^(true|1|1\.0)$", r"(?i)^(false|0|0\.0)$"


@dataclass(frozen=True, slots=True)
class ReadColumn:
    """One column: its numbers (NaN where there is none), and the mask of the rows that have each problem."""

    numbers: Vector
    problems: Mapping[RowProblem, Mask]


def column_named(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    """The column of that name, or None where it is absent; the first of several columns of the same name."""
    indexes = table.schema.get_all_field_indices(name)
    return table.column(indexes[0]) if indexes else None


def read_column(values: pa.ChunkedArray, column: FeatureColumn) -> ReadColumn:
    values = decode_dictionary(values)
    if column.kind is Kind.CATEGORICAL:
        return _read_categories(values, column)
    if column.kind is Kind.DATETIME:
        return _read_dates(values)
    if column.kind is Kind.BOOLEAN and kind_of(values.type) is Kind.CATEGORICAL:
        return _parse_booleans(values)
    result = read_numbers(values)
    if column.kind is Kind.BOOLEAN:
        return ReadColumn(np.where(np.isnan(result.numbers), np.nan, result.numbers != 0), result.problems)
    return result


def read_numbers(values: pa.ChunkedArray) -> ReadColumn:
    """Numbers and booleans as they are, texts parsed as numbers; infinities stay infinite."""
    values = decode_dictionary(values)
    kind = kind_of(values.type)
    if kind is Kind.CATEGORICAL:
        return _parse_numbers(values)
    if kind not in (Kind.NUMERIC, Kind.BOOLEAN):
        return _unreadable_column(values)
    numbers = _floats(values)
    return ReadColumn(numbers, {RowProblem.MISSING: np.isnan(numbers)})


def decode_dictionary(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(values, values.type.value_type) if pt.is_dictionary(values.type) else values


def missing_mask(values: pa.ChunkedArray) -> Mask:
    return np.asarray(pc.is_null(values, nan_is_null=True).to_numpy(), dtype=np.bool_)


def _read_categories(values: pa.ChunkedArray, column: FeatureColumn) -> ReadColumn:
    missing = missing_mask(values)
    try:
        texts = pc.cast(values, pa.large_string())
    except pa.ArrowException:
        return _unreadable_column(values)
    positions = pc.index_in(texts, value_set=pa.array(column.categories, pa.large_string()))
    codes = _floats(pc.fill_null(positions, len(column.categories)))
    unseen = (codes == len(column.categories)) & ~missing
    codes[missing] = np.nan
    problems = (
        {RowProblem.MISSING: missing} if column.other else {RowProblem.MISSING: missing, RowProblem.UNSEEN: unseen}
    )
    return ReadColumn(codes, problems)


def _read_dates(values: pa.ChunkedArray) -> ReadColumn:
    missing = missing_mask(values)
    kind = kind_of(values.type)
    if kind is Kind.DATETIME:
        return ReadColumn(_floats(days(values)), {RowProblem.MISSING: missing})
    if kind is not Kind.CATEGORICAL:
        return _unreadable_column(values)
    try:
        numbers = _floats(days(timestamps(pc.cast(values, pa.string()))))
    except pa.ArrowException:
        instants = pd.to_datetime(values.to_pandas(), format="ISO8601", utc=True, errors="coerce")
        naive = instants.dt.tz_convert(None).to_numpy().astype("datetime64[us]")
        numbers = _floats(days(pa.chunked_array([pa.array(naive)])))
    blank = missing | _matches(values, _NO_VALUE)
    return ReadColumn(numbers, {RowProblem.MISSING: blank, RowProblem.WRONG_TYPE: np.isnan(numbers) & ~blank})


def _parse_numbers(values: pa.ChunkedArray) -> ReadColumn:
    texts = pc.utf8_trim_whitespace(pc.cast(values, pa.large_string()))
    is_number = pc.match_substring_regex(texts, NUMBER)
    numbers = _floats(pc.cast(pc.if_else(is_number, texts, pa.scalar(None, texts.type)), pa.float64()))
    missing = missing_mask(values) | _matches(values, _NO_VALUE)
    infinite = _matches(values, _INFINITY)
    numbers[infinite] = np.inf
    return ReadColumn(numbers, {RowProblem.MISSING: missing, RowProblem.NOT_A_NUMBER: np.isnan(numbers) & ~missing})


def _parse_booleans(values: pa.ChunkedArray) -> ReadColumn:
    numbers = np.full(len(values), np.nan)
    numbers[_matches(values, _TRUE)] = 1.0
    numbers[_matches(values, _FALSE)] = 0.0
    missing = missing_mask(values) | _matches(values, _NO_VALUE)
    return ReadColumn(numbers, {RowProblem.MISSING: missing, RowProblem.WRONG_TYPE: np.isnan(numbers) & ~missing})


def _unreadable_column(values: pa.ChunkedArray) -> ReadColumn:
    missing = missing_mask(values)
    return ReadColumn(np.full(len(values), np.nan), {RowProblem.MISSING: missing, RowProblem.WRONG_TYPE: ~missing})


def _matches(texts: pa.ChunkedArray, pattern: str) -> Mask:
    matches = pc.match_substring_regex(pc.utf8_trim_whitespace(pc.cast(texts, pa.large_string())), pattern)
    return np.asarray(pc.fill_null(matches, False).to_numpy(), dtype=np.bool_)


def _floats(values: pa.ChunkedArray) -> Vector:
    """A writable copy, NaN for null."""
    return np.array(pc.fill_null(pc.cast(values, pa.float64(), safe=False), np.nan).to_numpy(), dtype=np.float64)
