from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.domain.model import Task
from optagent.ensembles.correlation import redundant_groups
from optagent.ensembles.diversity import diversity, fault_shares, q_statistics
from optagent.ensembles.members import Members, members_of
from optagent.ensembles.target import target_of
from optagent.errors import InvalidRequest
from optagent.training.metrics import METRICS

Library = Callable[..., Members]


def from_hits(*hits: list[int]) -> Members:
    """Members that are right where there is a 1."""
    y = np.ones(len(hits[0]))
    return members_of(Task.BINARY, {str(i): 0.2 + 0.6 * np.array(row) for i, row in enumerate(hits)}, y)


def test_pairs_of_labels_by_hand() -> None:
    # Both right 3, first only 2, second only 1, both wrong 2.
    members = from_hits([1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 1, 0, 0])
    both_wrong, one_wrong = fault_shares(members)
    assert both_wrong[0, 1] == pytest.approx(2 / 8)
    assert one_wrong[0, 1] == pytest.approx(3 / 8)
    assert q_statistics(members)[0, 1] == pytest.approx((3 * 2 - 2 * 1) / (3 * 2 + 2 * 1))
    pair = diversity(members)
    assert (pair.q, pair.disagreement, pair.double_fault) == pytest.approx((0.5, 3 / 8, 2 / 8))


def test_the_residual_correlation_is_pearsons(library: Library) -> None:
    for task in (Task.BINARY, Task.REGRESSION):
        members = library(task, models=2)
        expected = np.corrcoef(members.predictions - members.y)[0, 1]
        assert diversity(members).residual_correlation == pytest.approx(expected)
    three = library(Task.MULTICLASS, models=2)
    residuals = (three.predictions - (three.y[:, None] == np.arange(3))).reshape(2, -1)
    assert diversity(three).residual_correlation == pytest.approx(np.corrcoef(residuals)[0, 1])


def test_identical_members_have_no_diversity_and_unrelated_errors_have_all_of_it() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4, 20_000))
    same = members_of(Task.REGRESSION, {"a": noise[0], "b": noise[0]}, np.zeros(20_000))
    assert diversity(same).score == pytest.approx(0, abs=1e-12)
    apart = members_of(Task.REGRESSION, {str(i): one for i, one in enumerate(noise)}, np.zeros(20_000))
    assert diversity(apart).score == pytest.approx(1, abs=0.02)
    assert diversity(apart).q is None


@given(st.integers(0, 10**6), st.permutations(range(4)))
@settings(max_examples=25, deadline=None)
def test_diversity_is_within_its_bounds_and_blind_to_the_order_of_models(
    library: Library, seed: int, order: list[int]
) -> None:
    members = library(models=4, rows=50, seed=seed)
    original, shuffled = diversity(members), diversity(members.select_models(order))
    assert 0 <= original.score <= 1
    assert -1 <= original.q <= 1
    assert 0 <= original.disagreement <= 1
    assert 0 <= original.double_fault <= 1
    assert original.score == pytest.approx(shuffled.score)
    assert original.q == pytest.approx(shuffled.q)


def test_only_members_with_weight_count() -> None:
    members = from_hits([1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1])
    assert diversity(members, np.array([0.5, 0.5, 0.0])).disagreement == 0
    assert diversity(members, np.array([0.5, 0.0, 0.5])).disagreement == 1
    alone = diversity(members, np.array([1.0, 0.0, 0.0]))
    assert (alone.score, alone.q) == (0, None)


def test_perfect_and_constant_members_give_numbers() -> None:
    y = np.tile([0.0, 1.0], 20)
    members = members_of(Task.BINARY, {"perfect": y, "again": y, "wrong": 1 - y, "half": np.full(40, 0.5)}, y)
    result = diversity(members)
    assert all(np.isfinite(each) for each in (result.score, result.q, result.residual_correlation))
    assert np.isfinite(members.moments.correlation).all()


def test_redundant_members_are_found_and_the_best_stands_for_them(library: Library) -> None:
    members = library(models=4, rows=1500)
    rng = np.random.default_rng(1)
    near = {f"twin{i}": np.clip(members.predictions[0] + 0.02 * rng.normal(size=1500), 0, 1) for i in range(2)}
    larger = members_of(Task.BINARY, {**near, **members.by_member()}, members.y)
    (group,) = redundant_groups(larger, target_of(larger, [METRICS["log_loss"]]))
    assert {group.best, *group.others} == {"m00", "twin0", "twin1"}
    assert group.best == "m00"
    assert group.least >= 0.98


def test_nonsense_is_refused(library: Library) -> None:
    members = library()
    target = target_of(members, [METRICS["auc"]])
    with pytest.raises(InvalidRequest, match="threshold must be above 0"):
        redundant_groups(members, target, 0.0)
