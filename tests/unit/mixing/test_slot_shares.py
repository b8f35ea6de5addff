"""Shares of slots: they sum to the answer of the mixture, and are its weights where it is a weighted sum."""

import numpy as np
import pytest

from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import Task
from optagent.mixing.slot_shares import SlotShares


def weights_of(task: Task, rates: int = 4, guard: float = 0.1) -> MixtureWeights:
    rng = np.random.default_rng(1)
    mixers = np.hstack([rng.dirichlet(np.ones(3), rates), rng.normal(0, 0.05, (rates, 1))])
    layers = rng.dirichlet(np.ones(rates + 4), 5)
    top = rng.dirichlet(np.ones(5))
    parts = (tuple(map(tuple, mixers.tolist())), tuple(map(tuple, layers.tolist())), tuple(top.tolist()))
    return MixtureWeights(task, ("champion", "all", "1/4"), ("1", "2", "3"), *parts, low=-50, high=50, guard=guard)


@pytest.mark.parametrize("spread", [0.5, 5.0])
@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_shares_of_the_differences_sum_to_that_of_the_answer(task: Task, spread: float) -> None:
    weights, rng = weights_of(task), np.random.default_rng(2)
    base, margins = rng.normal(0, 1, 3), rng.normal(0, spread, (50, 3))
    moved = (SlotShares(weights).shares(base, margins) * (margins - base)).sum(axis=1)
    expected = SlotShares(weights).answer_margins(margins) - SlotShares(weights).answer_margins(base[None])
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-9)


def test_the_shares_of_values_are_the_same_for_every_row() -> None:
    rng = np.random.default_rng(2)
    shares = SlotShares(weights_of(Task.REGRESSION)).shares(rng.normal(0, 1, 3), rng.normal(0, 5, (50, 3)))
    np.testing.assert_allclose(shares, np.tile(shares[0], (50, 1)), rtol=0, atol=1e-9)


def test_the_shares_of_a_mixer_that_answers_alone_are_its_weights() -> None:
    mixer = (0.5, 0.3, 0.2, 0.1)
    layers = ((1.0, 0.0, 0.0, 0.0, 0.0),)
    weights = MixtureWeights(Task.BINARY, ("champion", "all", "1/4"), ("1", "2", "3"), (mixer,), layers, (1.0,))
    rng = np.random.default_rng(3)
    shares = SlotShares(weights).shares(rng.normal(0, 1, 3), rng.normal(0, 1, (20, 3)))
    np.testing.assert_allclose(shares, np.tile(mixer[:3], (20, 1)), rtol=0, atol=1e-9)


def test_a_row_at_the_base_has_shares_that_are_numbers() -> None:
    base = np.array([0.2, -0.1, 0.4])
    assert np.isfinite(SlotShares(weights_of(Task.BINARY)).shares(base, base[None])).all()
