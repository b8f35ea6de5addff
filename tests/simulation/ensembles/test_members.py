import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.ensembles.members import Members, members_of
from optagent.errors import InvalidData, InvalidRequest

Y = np.array([0.0, 1.0, 1.0, 0.0])
P = np.array([0.1, 0.8, 0.6, 0.3])
THREE = np.full((4, 3), 1 / 3)


@pytest.mark.parametrize(
    ("predictions", "task", "message"),
    [
        ({"a": P}, Task.BINARY, "at least 2 models, got 1"),
        ({}, Task.BINARY, "at least 2 models, got 0"),
        ({"a": P, "b": P[:3]}, Task.BINARY, "b: predictions of .3,. rows, those of a are .4,."),
        ({"a": P[:3], "b": P[:3]}, Task.BINARY, "3 predictions a model for 4 rows"),
        ({"a": THREE, "b": THREE[:, :2]}, Task.MULTICLASS, r"b: predictions of shape \(4, 2\), those of a have"),
        ({"a": THREE, "b": THREE}, Task.BINARY, r"of a binary model are \(models, rows\), got shape \(2, 4, 3\)"),
        ({"a": P, "b": P}, Task.MULTICLASS, r"\(models, rows, classes\)"),
        ({"a": P, "b": [0.1, np.nan, np.nan, 0.2]}, Task.BINARY, "b: 2 of 4 rows are NaN: they were not predicted out"),
        ({"a": P, "b": [0.1, np.inf, 0.3, 0.2]}, Task.REGRESSION, "b: a prediction is infinite"),
        ({"a": P, "b": P + 0.5}, Task.BINARY, "b: a probability is between 0 and 1, got 1.3"),
        ({"a": P, "b": -P}, Task.BINARY, "b: a probability is between 0 and 1, got -0.8"),
        ({"a": THREE, "b": THREE * 0.9}, Task.MULTICLASS, "b: the probabilities of a row sum to 1, got 0.9"),
        ({"a": P, "b": ["x", "y", "z", "w"]}, Task.BINARY, "must be numbers"),
        ({"a": P[:0], "b": P[:0]}, Task.BINARY, "for 4 rows"),
    ],
)
def test_predictions_that_do_not_go_together_are_refused_with_the_model_and_the_rule(
    predictions: dict[str, object], task: Task, message: str
) -> None:
    with pytest.raises(InvalidData, match=message):
        members_of(task, predictions, Y)  # type: ignore[arg-type]


@pytest.mark.parametrize("label", [2.0, -1.0, 0.5, np.nan])
def test_a_label_that_is_no_class_is_refused(label: float) -> None:
    with pytest.raises(InvalidData, match="y "):
        members_of(Task.BINARY, {"a": P, "b": P}, [0, 1, label, 1])


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="a: a model is a member once"):
        Members(Task.BINARY, ("a", "a"), np.stack([P, P]), Y)


def test_a_cost_that_is_missing_or_negative_is_refused() -> None:
    with pytest.raises(InvalidData, match="b: latency_ms must be a number of at least 0, got nan"):
        members_of(Task.BINARY, {"a": P, "b": P}, Y, latency_ms={"a": 1.0})
    with pytest.raises(InvalidData, match="a: size_mb must be"):
        members_of(Task.BINARY, {"a": P, "b": P}, Y, size_mb={"a": -1.0, "b": 1.0})


def test_identical_and_constant_members_are_noted_and_not_refused() -> None:
    members = members_of(Task.BINARY, {"b": P, "a": P, "c": np.full(4, 0.5)}, Y)
    assert members.notes == ("b says exactly what a says", "c says the same of every row")
    assert members_of(Task.BINARY, {"a": P, "b": P + 1e-9}, Y).notes == ()


def test_a_matrix_is_taken_without_a_copy_and_cannot_be_written_through() -> None:
    matrix = np.stack([P, P / 2]).astype(np.float32)
    members = Members(Task.BINARY, ("a", "b"), matrix, Y)
    assert np.shares_memory(members.predictions, matrix)
    assert members.predictions.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        members.predictions[0, 0] = 1.0


def test_neighbouring_rows_are_a_view_and_others_are_the_same_rows() -> None:
    members = members_of(Task.BINARY, {"a": P, "b": P / 2}, Y, latency_ms={"a": 1, "b": 2})
    part = members.select_rows(np.array([1, 2]))
    assert np.shares_memory(part.predictions, members.predictions)
    other = members.select_rows(np.array([3, 0])).select_models([1, 0])
    np.testing.assert_array_equal(other.predictions, [[0.15, 0.05], [0.3, 0.1]])
    assert (other.names, other.latency_ms) == (("b", "a"), (2, 1))
    np.testing.assert_array_equal(other.y, [0, 0])


def test_blocks_cover_every_row_once() -> None:
    rng = np.random.default_rng(0)
    members = members_of(Task.REGRESSION, {str(index): rng.random(50_000) for index in range(20)}, np.zeros(50_000))
    parts = list(members.blocks())
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate([block for _, block in parts], axis=1), members.predictions)
