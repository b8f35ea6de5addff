"""Predictions and labels as they come in from outside; what cannot be used is marked and never raised."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.arrays import Mask, Prediction, Vector
from optagent.domain.model import Task
from optagent.domain.quality import RowProblem
from optagent.training.encoding import Schema
from optagent.training.live_values import NUMBER, column_named, decoded, missing_in, numbers_in
from optagent.training.predictor import PREDICTION
from optagent.training.target import Label

PROBABILITY = "probability"
_SUM_TOLERANCE = 0.02  # probabilities that were logged with two or three digits
_ROUNDING = 1e-6  # a 32-bit probability of one may be a little more


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
        return numbers, np.isnan(numbers) & ~read.problems[RowProblem.MISSING]
    values = decoded(values)
    missing = missing_in(values)
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
    if re.fullmatch(NUMBER, text) and not text.isdigit():
        number = float(text)
        return str(int(number)) if np.isfinite(number) and number == int(number) else text
    return text.lstrip("0") or "0" if text.isdigit() else text
