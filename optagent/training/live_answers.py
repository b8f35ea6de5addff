"""Live predictions and labels, encoded as they come in from outside; unusable ones are marked, and never raised."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.arrays import Mask, Prediction, Vector
from optagent.domain.model import Task
from optagent.domain.quality import RowProblem
from optagent.training.encoding import Schema
from optagent.training.live_values import NUMBER, column_named, decode_dictionary, missing_mask, read_numbers
from optagent.training.predictor import PREDICTION
from optagent.training.target import Label

PROBABILITY = "probability"
_SUM_TOLERANCE = 0.02  # probabilities that were logged with two or three digits
_ROUNDING = 1e-6  # a 32-bit probability of one may be a little more


def encode_predictions(table: pa.Table, schema: Schema) -> tuple[Prediction, Mask]:
    """The model's predictions, and the mask of the rows whose prediction is usable; see `Observed.prediction`.

    A row's probabilities are taken from `probability_<label>`, or for a binary model from `probability` (of the class
    that is last in the schema); a row without any gives the label of `prediction` a probability of 1. A probability
    that is not finite or not between 0 and 1 is unusable, as are probabilities that do not add up to 1 and a label that
    is no class.
    """
    if schema.task is Task.REGRESSION:
        values = _numeric_column(table, PREDICTION)
        return values, np.isfinite(values)
    probabilities = _class_probabilities(table, schema.classes)
    indexes = np.full(table.num_rows, np.nan)
    labels = column_named(table, PREDICTION)
    if labels is not None:
        indexes, _ = encode_live_labels(labels, schema)
    if schema.task is Task.BINARY:
        negative, positive = probabilities[:, 0], probabilities[:, 1]
        probability = _coalesce(positive, 1 - negative, _numeric_column(table, PROBABILITY), indexes)
        return np.clip(probability, 0, 1), (probability >= -_ROUNDING) & (probability <= 1 + _ROUNDING)
    label_only = np.isnan(probabilities).all(axis=1)
    one_hot = indexes[:, None] == np.arange(len(schema.classes))
    probabilities[label_only] = np.where(np.isnan(indexes[label_only])[:, None], np.nan, one_hot[label_only])
    within = ((probabilities >= -_ROUNDING) & (probabilities <= 1 + _ROUNDING)).all(axis=1)
    with np.errstate(invalid="ignore"):
        adds_up = np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE
    return np.clip(probabilities, 0, 1), within & adds_up


def encode_live_labels(values: pa.ChunkedArray, schema: Schema) -> tuple[Vector, Mask]:
    """Class indexes or values, NaN where there is none, and the mask of the labels that are no class or number.

    Classes are compared as they are written, so that `"1"`, `1`, `1.0` and `True` are the class 1 of (0, 1).
    """
    if schema.task is Task.REGRESSION:
        column = read_numbers(values)
        numbers = np.where(np.isinf(column.numbers), np.nan, column.numbers)
        return numbers, np.isnan(numbers) & ~column.problems[RowProblem.MISSING]
    values = decode_dictionary(values)
    missing = missing_mask(values)
    try:
        codes = pc.dictionary_encode(values).combine_chunks()
    except pa.ArrowException:  # lists and other types that are no class
        return np.full(len(values), np.nan), ~missing
    if isinstance(codes, pa.ChunkedArray):
        codes = codes.chunk(0) if codes.num_chunks else pa.array([], values.type).dictionary_encode()
    class_of = _class_matcher(schema.classes)
    indexes = np.array([class_of(value) for value in codes.dictionary.to_pylist()] + [np.nan], dtype=np.float64)
    encoded = indexes[pc.fill_null(codes.indices, len(indexes) - 1).to_numpy(zero_copy_only=False)]
    return encoded, np.isnan(encoded) & ~missing


def _numeric_column(table: pa.Table, name: str) -> Vector:
    """(rows,) numbers of a column: NaN where it has no value, and infinite where its value is unusable."""
    values = column_named(table, name)
    if values is None:
        return np.full(table.num_rows, np.nan)
    column = read_numbers(values)
    present = np.asarray(pc.is_valid(values).to_numpy(), dtype=np.bool_)
    return np.where(present & np.isnan(column.numbers), np.inf, column.numbers)


def _class_probabilities(table: pa.Table, classes: Sequence[Label]) -> Prediction:
    """(rows, classes) the table's probabilities as they are, in the order of the classes."""
    probabilities = np.full((table.num_rows, len(classes)), np.nan)
    class_of = _class_matcher(classes)
    for name in table.schema.names:
        if name.startswith(f"{PROBABILITY}_"):
            index = class_of(name.removeprefix(f"{PROBABILITY}_"))
            if not np.isnan(index):
                probabilities[:, int(index)] = _numeric_column(table, name)
    return probabilities


def _coalesce(*sources: Vector) -> Vector:
    numbers = sources[0]
    for source in sources[1:]:
        numbers = np.where(np.isnan(numbers), source, numbers)
    return numbers


def _class_matcher(classes: Sequence[Label]) -> Callable[[object], float]:
    """A function from a value to the position of its class, NaN for none: compared as written, or else as a number or
    a boolean."""
    exact = {str(label): float(index) for index, label in enumerate(classes)}
    normalised: dict[str, float] = {}
    for index, label in enumerate(classes):
        normalised[_normalise_label(label)] = np.nan if _normalise_label(label) in normalised else float(index)
    if set(normalised) == {"0", "1"} or set(normalised) == {"false", "true"}:
        for truth, number in (("false", "0"), ("true", "1")):
            normalised[truth] = normalised[number] = normalised.get(truth, normalised.get(number, np.nan))

    def class_of(value: object) -> float:
        return exact.get(str(value), normalised.get(_normalise_label(value), np.nan))

    return class_of


def _normalise_label(value: object) -> str:
    """The text by which labels are compared: lower case without blanks, whole numbers without a fraction.

    >>> _normalise_label(1.0), _normalise_label(" 1"), _normalise_label(True), _normalise_label("Yes")
    ('1', '1', 'true', 'yes')
    """
    text = str(value).strip().lower()
    if re.fullmatch(NUMBER, text) and not text.isdigit():
        number = float(text)
        return str(int(number)) if np.isfinite(number) and number == int(number) else text
    return text.lstrip("0") or "0" if text.isdigit() else text
