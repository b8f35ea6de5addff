from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.domain.model import Task
from optagent.ensembles.members import Members
from optagent.ensembles.mixing import mean_of
from optagent.ensembles.shares import latency_of, weighted_mean, weights_of
from optagent.ensembles.voting import hard_vote, soft_vote
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.average import HardVote, WeightedMean
from optagent.training.combined import Combined, combine, from_json, to_json
from optagent.training.stack import Stack, StackColumn

Library = Callable[..., Members]
TASKS = list(Task)


def stack_for(members: Members) -> Stack:
    outputs = members.classes
    column = StackColumn(1, 0.5, 2.0, tuple(0.1 * (1 + index) for index in range(outputs)))
    return Stack(members.task, members.names, (0.3, 0.1, 1 / 3, 0.7, 0.05), (0.01,) * outputs, (column,))


def ensembles(members: Members) -> list[Combined]:
    weights = np.random.default_rng(0).dirichlet(np.ones(len(members)))
    votes = [hard_vote(members)] if members.task.classifies else []
    return [weighted_mean(members, weights), soft_vote(members), *votes, stack_for(members)]


@pytest.mark.parametrize("task", TASKS)
def test_what_was_written_answers_to_the_last_bit_and_a_row_alone_as_among_many(library: Library, task: Task) -> None:
    members = library(task)
    x = np.random.default_rng(1).normal(size=(members.rows, 3)).astype(np.float32)
    x[::7, 1] = np.nan
    for ensemble in ensembles(members):
        whole = combine(ensemble, members.by_member(), x)
        np.testing.assert_array_equal(combine(from_json(to_json(ensemble)), members.by_member(), x), whole)
        for row in (0, 7, 211):
            predictions = {name: one[row : row + 1] for name, one in members.by_member().items()}
            np.testing.assert_array_equal(combine(ensemble, predictions, x[row : row + 1]), whole[row : row + 1])
        if task.classifies:
            assert whole.min() >= 0
            assert whole.max() <= 1
        if task is Task.MULTICLASS:
            np.testing.assert_allclose(whole.sum(axis=1), 1)


@given(st.lists(st.floats(1e-6, 1e6), min_size=5, max_size=5), st.permutations(range(5)))
@settings(max_examples=50, deadline=None)
def test_weights_of_any_size_are_written_exactly_and_the_order_of_models_does_not_matter(
    library: Library, weights: list[float], order: list[int]
) -> None:
    members = library(rows=20)
    shares = np.array(weights) / sum(weights)
    ensemble = weighted_mean(members, shares)
    assert sum(ensemble.weights) == pytest.approx(1)
    assert from_json(to_json(ensemble)) == ensemble
    shuffled = weighted_mean(members.select_models(order), shares[order])
    np.testing.assert_allclose(
        combine(shuffled, members.by_member()), combine(ensemble, members.by_member()), rtol=1e-12
    )
    np.testing.assert_allclose(combine(ensemble, members.by_member()), mean_of(members, shares), rtol=1e-12)


def test_models_without_weight_need_not_answer(library: Library) -> None:
    members = library()
    ensemble = weighted_mean(members, np.array([0.0, 0.25, 0.0, 0.75, 0.0]))
    assert ensemble.names == ("m01", "m03")
    predictions = {name: members.by_member()[name] for name in ensemble.names}
    np.testing.assert_allclose(combine(ensemble, predictions), 0.25 * predictions["m01"] + 0.75 * predictions["m03"])
    np.testing.assert_allclose(weights_of(members, ensemble), [0, 0.25, 0, 0.75, 0])


def test_a_vote_counts_labels_and_a_mean_does_not() -> None:
    predictions = {"a": np.array([0.51, 0.9]), "b": np.array([0.55, 0.4]), "c": np.array([0.0, 0.45])}
    thirds = (1 / 3, 1 / 3, 1 / 3)
    vote, mean = HardVote(Task.BINARY, ("a", "b", "c"), thirds), WeightedMean(Task.BINARY, ("a", "b", "c"), thirds)
    np.testing.assert_allclose(combine(vote, predictions), [2 / 3, 1 / 3])
    np.testing.assert_allclose(combine(mean, predictions), [1.06 / 3, 1.75 / 3])


def test_a_stack_of_logits_by_hand() -> None:
    stack = Stack(Task.BINARY, ("a", "b"), (1.0, 0.5), (0.25,))
    predictions = {"a": np.array([0.8]), "b": np.array([0.3])}
    logit = np.log(0.8 / 0.2) + 0.5 * np.log(0.3 / 0.7) + 0.25
    assert combine(stack, predictions)[0] == pytest.approx(1 / (1 + np.exp(-logit)))
    certain = combine(stack, {"a": np.array([0.0, 1.0]), "b": np.array([1.0, 1.0])})
    assert np.isfinite(certain).all()


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ({"a": np.ones(2)}, "b: a member of the ensemble, has no prediction"),
        ({"a": np.ones(2), "b": np.ones(3)}, "b: predictions of shape"),
        ({"a": np.ones(2), "b": np.ones((2, 2))}, "b: not the prediction of a regression model"),
        ({"a": np.ones(2), "b": np.array([1.0, np.nan])}, "b: a prediction is not finite"),
    ],
)
def test_a_member_that_is_missing_or_broken_is_named(predictions: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        combine(WeightedMean(Task.REGRESSION, ("a", "b"), (0.5, 0.5)), predictions)


def test_a_stack_with_features_asks_for_them(library: Library) -> None:
    members = library()
    with pytest.raises(InvalidData, match="needs the features"):
        combine(stack_for(members), members.by_member())


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda: WeightedMean(Task.BINARY, ("a", "b"), (0.5, 0.6)),
        lambda: WeightedMean(Task.BINARY, ("a", "b"), (1.5, -0.5)),
        lambda: WeightedMean(Task.BINARY, ("a", "b"), (float("nan"), 1.0)),
        lambda: WeightedMean(Task.BINARY, ("a", "a"), (0.5, 0.5)),
        lambda: WeightedMean(Task.BINARY, ("a",), (0.5, 0.5)),
        lambda: HardVote(Task.REGRESSION, ("a",), (1.0,)),
        lambda: Stack(Task.BINARY, ("a",), (float("inf"),), (0.0,)),
        lambda: Stack(Task.BINARY, ("a",), (1.0,), (0.0,), (StackColumn(0, 0.0, 0.0, (1.0,)),)),
        lambda: Stack(Task.MULTICLASS, ("a",), (1.0,), (0.0, 0.0), (StackColumn(0, 0.0, 1.0, (1.0,)),)),
        lambda: from_json(b"{"),
        lambda: from_json(b"[]"),
        lambda: from_json(b'{"kind": "pickle"}'),
        lambda: from_json(b'{"kind": ["stack"]}'),
        lambda: from_json(b'{"kind": "weighted_mean", "task": "binary", "names": ["a"], "weights": ["x"]}'),
        lambda: from_json(b'{"kind": "weighted_mean", "task": "binary", "names": ["a"], "weights": [2.0]}'),
    ],
)
def test_weights_that_are_nonsense_are_refused(nonsense: Callable[[], object]) -> None:
    with pytest.raises(InvalidRequest):
        nonsense()


def test_latencies_of_members_add_up(library: Library) -> None:
    members = library(latency_ms={f"m0{index}": float(index) for index in range(5)})
    assert latency_of(members, weighted_mean(members, np.array([0.0, 0.5, 0.0, 0.5, 0.0]))) == 4
    assert latency_of(library(), soft_vote(library())) is None
