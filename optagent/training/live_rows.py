"""Rows as they come in from outside, encoded as far as they can be; what cannot be is counted and never raised."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.domain.model import Task
from optagent.domain.quality import Problem
from optagent.training.columns import Kind, kind_of
from optagent.training.encoding import Column, Schema
from optagent.training.families.family import Prediction
from optagent.training.predictor import PREDICTION
from optagent.training.problem import Matrix, Vector
from optagent.training.target import Label
from optagent.training.values import days, timestamps

Mask = npt.NDArray[np.bool_]
Counts = Mapping[str, Mapping[Problem, int]]
"""Rows by column and problem; an extra column counts once, whatever its rows."""

PROBABILITY = "probability"
_BOOKKEEPING = frozenset({"id", "time", PREDICTION, "latency_ms", "version", "arm"})
_NO_VALUE = r"(?i)^(nan|null|none|na|n/a)?$"
_NO_END = r"(?i)^[+-]?inf(inity)?$"
_NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
_TRUE, _FALSE = r"(?i)^(true|1|1\.0)$", r"(?i)^(false|0|0\.0)$"
_SUM_TOLERANCE = 0.02  # probabilities that were logged with two or three digits
_ROUNDING = 1e-6  # a 32-bit probability of one may be a little more


def encode_live(table: pa.Table, schema: Schema) -> tuple[Matrix, Counts]:
    """The features as (rows, columns) float32, and the rows that had a problem, by column.

    As `encode` on clean rows, but a category that the schema does not know has the code `len(categories)`; it counts as
    unseen only where the schema has no `other` level. What cannot be read is NaN. Texts of numbers and of dates are
    read; a column that is absent is missing in every row.
    """
    x = np.full((table.num_rows, len(schema.columns)), np.nan, dtype=np.float32)
    counts: dict[str, Mapping[Problem, int]] = {}
    for index, column in enumerate(schema.columns):
        values = column_named(table, column.name)
        if values is None:
            found = {Problem.ABSENT: table.num_rows}
        else:
            read = _read(values, column)
            with np.errstate(over="ignore"):
                x[:, index] = read.numbers
            found = {problem: int(mask.sum()) for problem, mask in read.problems.items()}
            endless = np.isinf(x[:, index])
            found[Problem.INFINITE] = found.get(Problem.INFINITE, 0) + int(endless.sum())
            x[endless, index] = np.nan
        counts[column.name] = found
    known = {*schema.names, *_BOOKKEEPING}
    for name in table.schema.names:
        if name not in known and not name.startswith(PROBABILITY) and _holds_a_value(table, name):
            counts[name] = {Problem.EXTRA: 1}
    return x, _without_zeros(counts)


def merged_counts(parts: Iterable[Counts]) -> Counts:
    """The counts of several tables as those of one."""
    total: dict[str, dict[Problem, int]] = {}
    for part in parts:
        for name, found in part.items():
            into = total.setdefault(name, {})
            for problem, count in found.items():
                into[problem] = 1 if problem is Problem.EXTRA else into.get(problem, 0) + count
    return total


def model_matrix(x: Matrix, schema: Schema) -> Matrix:
    """What `encode` would have given where `encode_live` gave `x`: NaN for a category that the schema does not know."""
    x = x.copy()
    for index, column in enumerate(schema.columns):
        if column.kind is Kind.CATEGORICAL and not column.other:
            x[x[:, index] == len(column.categories), index] = np.nan
    return x


def encode_predictions(table: pa.Table, schema: Schema) -> tuple[Prediction, Mask]:
    """What the model answered, and the mask of the rows in which that can be used; see `Observed.prediction`.

    A row's probabilities are taken from `probability_<label>`, or for a binary model from `probability` (of the class
    that is last in the schema); without any, the label of `prediction` has all of it. A probability that is not finite
    or not between 0 and 1 cannot be used, nor probabilities that do not add up to 1, nor a label that is no class.
    """
    if schema.task is Task.REGRESSION:
        values = _given(table, PREDICTION)
        return values, np.isfinite(values)
    by_class = _by_class(table, schema.classes)
    indexes = np.full(table.num_rows, np.nan)
    labels = column_named(table, PREDICTION)
    if labels is not None:
        indexes, _ = encode_live_labels(labels, schema)
    if schema.task is Task.BINARY:
        negative, positive = by_class[:, 0], by_class[:, 1]
        found = _first_known(positive, 1 - negative, _given(table, PROBABILITY), indexes)
        return np.clip(found, 0, 1), (found >= -_ROUNDING) & (found <= 1 + _ROUNDING)
    alone = np.isnan(by_class).all(axis=1)
    sure = indexes[:, None] == np.arange(len(schema.classes))
    by_class[alone] = np.where(np.isnan(indexes[alone])[:, None], np.nan, sure[alone])
    within = ((by_class >= -_ROUNDING) & (by_class <= 1 + _ROUNDING)).all(axis=1)
    with np.errstate(invalid="ignore"):
        adds_up = np.abs(by_class.sum(axis=1) - 1) <= _SUM_TOLERANCE
    return np.clip(by_class, 0, 1), within & adds_up


def encode_live_labels(values: pa.ChunkedArray, schema: Schema) -> tuple[Vector, Mask]:
    """Class indexes or values, NaN where there is none, and the mask of those that are no class or number.

    Classes are compared as they are written, so that `"1"`, `1`, `1.0` and `True` are the class 1 of (0, 1).
    """
    if schema.task is Task.REGRESSION:
        read = numbers_in(values)
        numbers = np.where(np.isinf(read.numbers), np.nan, read.numbers)
        return numbers, np.isnan(numbers) & ~read.problems[Problem.MISSING]
    values = _decoded(values)
    missing = _missing(values)
    try:
        codes = pc.dictionary_encode(values).combine_chunks()
    except pa.ArrowException:  # lists and other types that are no class
        return np.full(len(values), np.nan), ~missing
    if isinstance(codes, pa.ChunkedArray):
        codes = codes.chunk(0) if codes.num_chunks else pa.array([], values.type).dictionary_encode()
    class_of = _class_matcher(schema.classes)
    indexes = np.array([class_of(value) for value in codes.dictionary.to_pylist()] + [np.nan], dtype=np.float64)
    found = indexes[pc.fill_null(codes.indices, len(indexes) - 1).to_numpy(zero_copy_only=False)]
    return found, np.isnan(found) & ~missing


@dataclass(frozen=True, slots=True)
class Read:
    """One column: numbers (NaN where there is none), and the masks of what was wrong with the others."""

    numbers: Vector
    problems: Mapping[Problem, Mask]


def numbers_in(values: pa.ChunkedArray) -> Read:
    """Numbers and booleans as they are, texts as the numbers they say; infinities stay infinite."""
    values = _decoded(values)
    kind = kind_of(values.type)
    if kind is Kind.CATEGORICAL:
        return _numbers_said(values)
    if kind not in (Kind.NUMERIC, Kind.BOOLEAN):
        return _wrong_type(values)
    numbers = _floats(values)
    return Read(numbers, {Problem.MISSING: np.isnan(numbers)})


def column_named(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    """The column, or None where it is absent; the first where a name stands twice."""
    found = table.schema.get_all_field_indices(name)
    return table.column(found[0]) if found else None


def _read(values: pa.ChunkedArray, column: Column) -> Read:
    values = _decoded(values)
    if column.kind is Kind.CATEGORICAL:
        return _codes(values, column)
    if column.kind is Kind.DATETIME:
        return _dates(values)
    if column.kind is Kind.BOOLEAN and kind_of(values.type) is Kind.CATEGORICAL:
        return _truths_said(values)
    read = numbers_in(values)
    if column.kind is Kind.BOOLEAN:
        return Read(np.where(np.isnan(read.numbers), np.nan, read.numbers != 0), read.problems)
    return read


def _codes(values: pa.ChunkedArray, column: Column) -> Read:
    missing = _missing(values)
    try:
        texts = pc.cast(values, pa.large_string())
    except pa.ArrowException:
        return _wrong_type(values)
    found = pc.index_in(texts, value_set=pa.array(column.categories, pa.large_string()))
    codes = _floats(pc.fill_null(found, len(column.categories)))
    unseen = (codes == len(column.categories)) & ~missing
    codes[missing] = np.nan
    problems = {Problem.MISSING: missing} if column.other else {Problem.MISSING: missing, Problem.UNSEEN: unseen}
    return Read(codes, problems)


def _dates(values: pa.ChunkedArray) -> Read:
    missing = _missing(values)
    kind = kind_of(values.type)
    if kind is Kind.DATETIME:
        return Read(_floats(days(values)), {Problem.MISSING: missing})
    if kind is not Kind.CATEGORICAL:
        return _wrong_type(values)
    try:
        numbers = _floats(days(timestamps(pc.cast(values, pa.string()))))
    except pa.ArrowException:
        read = pd.to_datetime(values.to_pandas(), format="ISO8601", utc=True, errors="coerce")
        instants = read.dt.tz_convert(None).to_numpy().astype("datetime64[us]")
        numbers = _floats(days(pa.chunked_array([pa.array(instants)])))
    blank = missing | _matches(values, _NO_VALUE)
    return Read(numbers, {Problem.MISSING: blank, Problem.WRONG_TYPE: np.isnan(numbers) & ~blank})


def _numbers_said(values: pa.ChunkedArray) -> Read:
    texts = pc.utf8_trim_whitespace(pc.cast(values, pa.large_string()))
    is_number = pc.match_substring_regex(texts, _NUMBER)
    numbers = _floats(pc.cast(pc.if_else(is_number, texts, pa.scalar(None, texts.type)), pa.float64()))
    missing = _missing(values) | _matches(values, _NO_VALUE)
    endless = _matches(values, _NO_END)
    numbers[endless] = np.inf
    return Read(numbers, {Problem.MISSING: missing, Problem.NOT_A_NUMBER: np.isnan(numbers) & ~missing})


def _truths_said(values: pa.ChunkedArray) -> Read:
    numbers = np.full(len(values), np.nan)
    numbers[_matches(values, _TRUE)] = 1.0
    numbers[_matches(values, _FALSE)] = 0.0
    missing = _missing(values) | _matches(values, _NO_VALUE)
    return Read(numbers, {Problem.MISSING: missing, Problem.WRONG_TYPE: np.isnan(numbers) & ~missing})


def _wrong_type(values: pa.ChunkedArray) -> Read:
    missing = _missing(values)
    return Read(np.full(len(values), np.nan), {Problem.MISSING: missing, Problem.WRONG_TYPE: ~missing})


def _decoded(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(values, values.type.value_type) if pt.is_dictionary(values.type) else values


def _missing(values: pa.ChunkedArray) -> Mask:
    return np.asarray(pc.is_null(values, nan_is_null=True).to_numpy(), dtype=np.bool_)


def _matches(texts: pa.ChunkedArray, pattern: str) -> Mask:
    found = pc.match_substring_regex(pc.utf8_trim_whitespace(pc.cast(texts, pa.large_string())), pattern)
    return np.asarray(pc.fill_null(found, False).to_numpy(), dtype=np.bool_)


def _floats(values: pa.ChunkedArray) -> Vector:
    """A writable copy, NaN for null."""
    return np.array(pc.fill_null(pc.cast(values, pa.float64(), safe=False), np.nan).to_numpy(), dtype=np.float64)


def _holds_a_value(table: pa.Table, name: str) -> bool:
    values = column_named(table, name)
    return values is not None and values.null_count < len(values)


def _without_zeros(counts: Counts) -> Counts:
    kept = {name: {problem: count for problem, count in found.items() if count} for name, found in counts.items()}
    return {name: found for name, found in kept.items() if found}


def _given(table: pa.Table, name: str) -> Vector:
    """Numbers, NaN where none is given, and infinite where what is given cannot be used."""
    values = column_named(table, name)
    if values is None:
        return np.full(table.num_rows, np.nan)
    read = numbers_in(values)
    given = np.asarray(pc.is_valid(values).to_numpy(), dtype=np.bool_)
    return np.where(given & np.isnan(read.numbers), np.inf, read.numbers)


def _by_class(table: pa.Table, classes: Sequence[Label]) -> Prediction:
    """(rows, classes) probabilities as given, in the order of the classes."""
    found = np.full((table.num_rows, len(classes)), np.nan)
    class_of = _class_matcher(classes)
    for name in table.schema.names:
        if name.startswith(f"{PROBABILITY}_"):
            index = class_of(name.removeprefix(f"{PROBABILITY}_"))
            if not np.isnan(index):
                found[:, int(index)] = _given(table, name)
    return found


def _first_known(*sources: Vector) -> Vector:
    found = sources[0]
    for source in sources[1:]:
        found = np.where(np.isnan(found), source, found)
    return found


def _class_matcher(classes: Sequence[Label]) -> Callable[[object], float]:
    """From a value to the position of its class, NaN for none: as written, or else as the same number or truth."""
    exact = {str(label): float(index) for index, label in enumerate(classes)}
    said: dict[str, float] = {}
    for index, label in enumerate(classes):
        said[_said(label)] = np.nan if _said(label) in said else float(index)
    if set(said) == {"0", "1"} or set(said) == {"false", "true"}:
        for truth, number in (("false", "0"), ("true", "1")):
            known = said.get(truth, said.get(number, np.nan))
            said[truth] = said[number] = known

    def class_of(value: object) -> float:
        return exact.get(str(value), said.get(_said(value), np.nan))

    return class_of


def _said(value: object) -> str:
    """
    >>> _said(1.0), _said(" 1"), _said(True), _said("Yes")
    ('1', '1', 'true', 'yes')
    """
    text = str(value).strip().lower()
    if re.fullmatch(_NUMBER, text) and not text.isdigit():
        number = float(text)
        return str(int(number)) if np.isfinite(number) and number == int(number) else text
    return text.lstrip("0") or "0" if text.isdigit() else text
