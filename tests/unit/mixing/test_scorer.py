"""Scorer of mixtures: its quick way gives the numbers of the plain formulas, for any number of rows."""

import numpy as np
import numpy.typing as npt
import pytest

from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import Task
from optagent.mixing.forms import LOW
from optagent.mixing.scorer import MixtureScorer

SLOTS = ("champion", "all", "1/4")
RATES, SHARES = 4, 3


def random_weights(rng: np.random.Generator, guard: float = 0.0) -> MixtureWeights:
    mixers = rng.normal(0.3, 0.3, (RATES, len(SLOTS) + 1))
    layers = rng.dirichlet(np.ones(RATES + len(SLOTS) + 1), SHARES)
    top = rng.dirichlet(np.ones(SHARES))
    mixers_and_layers = (tuple(map(tuple, values.tolist())) for values in (mixers, layers))
    return MixtureWeights(Task.BINARY, SLOTS, ("1", "2", "3"), *mixers_and_layers, tuple(top.tolist()), guard=guard)


def plain_mixture(
    weights: MixtureWeights, scores: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The answer to rows (rows, slots) of a binary model, and what every member and layer said."""
    bounded = np.clip(scores, LOW, 1 - LOW)
    answered = np.where(np.isnan(bounded), np.nanmean(bounded, axis=1, keepdims=True), bounded)
    mixers = np.array(weights.mixers)
    logits = np.log(answered / (1 - answered)) @ mixers[:, :-1].T + mixers[:, -1]
    mixed, mean = np.clip(1 / (1 + np.exp(-logits)), LOW, 1 - LOW), answered.mean(axis=1, keepdims=True)
    layers = np.hstack([mixed, answered, mean]) @ np.array(weights.layers).T
    answer = (1 - weights.guard) * (layers @ np.array(weights.top)) + weights.guard * answered[:, 0]
    return answer, np.hstack([mixed, bounded, mean, layers])


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize("guard", [0.0, 0.2])
@pytest.mark.parametrize("unanswered", [0, 1, 2])
def test_the_answer_and_what_is_said_are_those_of_the_plain_formulas(rows: int, guard: float, unanswered: int) -> None:
    rng = np.random.default_rng(rows)
    weights = random_weights(rng, guard)
    scores = rng.random((rows, len(SLOTS)))
    scores[rows // 2, :unanswered] = np.nan
    mixture = MixtureScorer(weights).mix(scores[:, :, None])
    answer, said = plain_mixture(weights, scores)
    np.testing.assert_allclose(mixture.scores, answer, rtol=1e-12)
    np.testing.assert_allclose(mixture.said[:, :, 0], said, rtol=1e-12)


def test_rows_that_no_slot_has_scored_give_no_number_and_leave_the_others_alone() -> None:
    scores = np.array([[np.nan] * 3, [0.2, 0.4, 0.6]])[:, :, None]
    scorer = MixtureScorer(random_weights(np.random.default_rng(0)))
    mixture = scorer.mix(scores)
    assert np.isnan(mixture.scores[0])
    np.testing.assert_allclose(mixture.said[1], scorer.mix(scores[1:]).said[0], rtol=1e-12)


def test_the_scores_that_were_asked_for_are_not_changed() -> None:
    scores = np.array([[[0.0], [np.nan], [1.0]]])
    before = scores.copy()
    MixtureScorer(random_weights(np.random.default_rng(0))).mix(scores)
    np.testing.assert_array_equal(scores, before)
