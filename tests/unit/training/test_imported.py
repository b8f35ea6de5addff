"""Columns, classes and parity of models that were trained elsewhere."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData
from optagent.training.columns import Kind
from optagent.training.encoding import Schema
from optagent.training.imported import (
    ConvertedModel,
    check_parity,
    class_order,
    imported_schema,
    name_features,
    reorder_classes,
    usable_columns,
)


@pytest.mark.parametrize(
    ("own", "signature", "listed", "expected"),
    [
        (["b", "a"], None, [], ("b", "a")),
        (["b", "a"], None, ["a", "b"], ("b", "a")),
        (["Column_0", "Column_1"], ["b", "a"], [], ("b", "a")),
        (None, ["b", "a"], ["a", "b"], ("b", "a")),
        (None, None, ["a", "b"], ("a", "b")),
        (["a_b", "c"], ["a b", "c"], [], ("a b", "c")),
    ],
)
def test_features_are_named_by_the_model_then_its_signature_then_the_list(own, signature, listed, expected):
    assert name_features(own, 2, signature, listed) == expected


@pytest.mark.parametrize(
    ("own", "signature", "listed", "message"),
    [
        (None, None, [], "names none of its 2"),
        (None, ["a"], [], "its signature names 1"),
        (None, None, ["a", "b", "c"], r"features of model\.yaml names 3"),
        (["a", "b"], ["b", "a"], [], r"order \['a', 'b'\], its signature \['b', 'a'\]"),
    ],
)
def test_features_that_cannot_be_told_are_refused(own, signature, listed, message):
    with pytest.raises(InvalidData, match=message):
        name_features(own, 2, signature, listed)


def test_each_column_that_cannot_be_read_has_its_reason():
    table = pa.table({"a": [1.5], "on": [True], "text": ["x"], "y": [1], "sex": [0], "old": [1]})
    spec = ModelSpec("m", Task.BINARY, FileSource("x.csv"), "y", sensitive_columns=("sex",), ignore=("old",))
    usable, refused = usable_columns(table, spec)
    assert usable == {"a": Kind.NUMERIC, "on": Kind.BOOLEAN}
    target = Schema((), "y", Task.BINARY, (0, 1))
    assert imported_schema(["on", "a"], usable, refused, target).names == ("on", "a")
    for name, message in (("y", "the target"), ("sex", "sensitive"), ("old", "not among"), ("text", "numbers only")):
        with pytest.raises(InvalidData, match=f"reads '{name}', but .*{message}"):
            imported_schema(["a", name], usable, refused, target)
    with pytest.raises(InvalidData, match=r"lacks \['c', 'd'\]"):
        imported_schema(["c", "a", "d"], usable, refused, target)


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (["no", "yes"], ("no", "yes"), (0, 1)),
        (["no", "yes"], ("yes", "no"), (1, 0)),
        ([0.0, 1.0], (0, 1), (0, 1)),
        ([False, True], (1, 0), (1, 0)),
        (None, ("no", "yes"), (0, 1)),
        (None, (1, 0), (1, 0)),
        (["c", "a", "b"], ("a", "b", "c"), (1, 2, 0)),
    ],
)
def test_classes_are_found_among_the_models(labels, classes, expected):
    assert class_order(labels, len(classes), classes) == expected


@pytest.mark.parametrize(
    ("labels", "count", "message"),
    [
        (["a", "b"], 2, r"tells \['a', 'b'\] apart"),
        (None, 3, "3 classes"),
        ([0.5, 1.5], 2, "0.5"),
        ([0, 1], 2, "apart"),
    ],
)
def test_other_classes_are_refused(labels, count, message):
    with pytest.raises(InvalidData, match=message):
        class_order(labels, count, ("no", "yes"))


def test_a_prediction_is_put_into_our_order():
    three = np.array([[0.1, 0.2, 0.7]])
    assert reorder_classes(three, (2, 0, 1), Task.MULTICLASS).tolist() == [[0.7, 0.1, 0.2]]
    assert reorder_classes(np.array([0.25]), (1, 0), Task.BINARY).tolist() == [0.75]


def converted_model(reference: np.ndarray, rounded: np.ndarray) -> ConvertedModel:
    schema = Schema((), "y", Task.REGRESSION)
    return ConvertedModel("linear", None, schema, {}, 1, reference, rounded)  # type: ignore[arg-type]


def test_parity_is_asked_of_every_row_and_rounding_may_move_one_in_a_hundred():
    prediction = np.linspace(0, 1, 200)
    same = converted_model(prediction, prediction)
    assert check_parity(prediction, same) == {"parity_max_abs_difference": 0.0, "rows_moved_by_rounding": 0.0}
    other = prediction.copy()
    other[3] += 2e-6
    with pytest.raises(InvalidData, match="differs from its source"):
        check_parity(prediction, converted_model(prediction, other))
    assert check_parity(prediction, converted_model(other, prediction))["rows_moved_by_rounding"] == 0.005
    with pytest.raises(InvalidData, match=r"32-bit floats.*1\.5%"):
        check_parity(prediction, converted_model(np.where(np.arange(200) < 3, 9.0, prediction), prediction))
    for broken in (np.full(200, np.nan), prediction[:-1]):
        with pytest.raises(InvalidData):
            check_parity(broken, same)
    with pytest.raises(InvalidData):
        check_parity(prediction, replace(same, reference=np.full(200, np.nan)))
