import json
import math

import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.mixing.learner import LearnedRows, MixtureLearner, state_digest
from optagent.mixing.scorer import MixtureScorer

SLOTS = ("champion", "all", "1/4", "1/16")


def replay(learner, slot_scores, y, step=1, wait=0):
    """Answers rows in steps, and learns them after `wait` more rows; the learned rows, all of them in order."""
    waiting, learned = [], []
    for start in range(0, len(y), step):
        rows = slice(start, start + step)
        answer = MixtureScorer(learner.weights(learner.slots)).mix(slot_scores[rows])
        scores = learner.form.bound(np.reshape(answer.scores, (-1, 1, learner.outputs)))[:, 0]
        waiting.append(LearnedRows(learner.slots, answer.said, scores, y[rows]))
        while sum(len(batch.y) for batch in waiting) > wait:
            learned.append(waiting.pop(0))
            learner.learn(learned[-1])
    return learned


def binary_rows(count, seed=0, slots=4):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.05, 0.95, count)
    noise = rng.normal(0, [0.02, 0.3, 0.4, 0.5, 0.6][:slots], (count, slots))
    return np.clip(truth[:, None] + noise, 0.0, 1.0)[:, :, None], (rng.random(count) < truth).astype(float)


def multiclass_rows(count, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet([1, 1, 1], count)
    scores = np.stack([rng.dirichlet([1, 1, 1], count) * mix + truth * (1 - mix) for mix in (0.6, 0.1, 0.9, 0.5)], 1)
    return scores, (rng.random(count)[:, None] > truth.cumsum(axis=1)).sum(axis=1).astype(float)


def regression_rows(count, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1, count)
    return (truth[:, None] + rng.normal(0, [0.5, 0.1, 1, 2], (count, 4)))[:, :, None], truth + rng.normal(0, 0.1, count)


STREAMS = {
    Task.BINARY: (binary_rows, {}),
    Task.MULTICLASS: (multiclass_rows, {"outputs": 3}),
    Task.REGRESSION: (regression_rows, {"low": -2.0, "high": 2.0}),
}


@pytest.mark.parametrize("task", list(Task))
def test_with_labels_at_once_the_answer_is_never_further_behind_a_slot_than_the_bound(task):
    rows, shape = STREAMS[task]
    learner = MixtureLearner(task, SLOTS, **shape)
    replay(learner, *rows(600))
    assert (learner.regret <= learner.bound).all()
    assert learner.bound == pytest.approx(math.log(3) + math.log(9))


@pytest.mark.parametrize("task", list(Task))
def test_weight_goes_to_the_slot_that_is_right(task):
    rows, shape = STREAMS[task]
    learner = MixtureLearner(task, SLOTS, **shape)
    replay(learner, *rows(2_000), step=20)
    assert learner.slot_weights.argmax() == learner.slot_loss.argmin()
    assert learner.slot_weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("task", list(Task))
def test_batches_do_not_change_a_bit_of_the_state(task):
    rows, shape = STREAMS[task]
    whole, cut = MixtureLearner(task, SLOTS, **shape), MixtureLearner(task, SLOTS, **shape)
    learned = replay(whole, *rows(120), step=7)
    together = LearnedRows(
        SLOTS,
        np.concatenate([batch.said for batch in learned]),
        np.concatenate([batch.scores for batch in learned]),
        np.concatenate([batch.y for batch in learned]),
    )
    cut.learn(together)
    assert state_digest(cut.to_plain()) == state_digest(whole.to_plain())


def test_a_state_comes_back_from_json_bit_for_bit():
    learner = MixtureLearner(Task.MULTICLASS, SLOTS, outputs=3)
    replay(learner, *multiclass_rows(50))
    copy = MixtureLearner.from_plain(json.loads(json.dumps(learner.to_plain())))
    assert copy.to_plain() == learner.to_plain()


def test_a_state_of_other_rules_is_refused():
    with pytest.raises(InvalidRequest, match="rules 99"):
        MixtureLearner.from_plain({"rules": 99})


def test_a_slot_that_says_nothing_keeps_its_weight():
    learner = MixtureLearner(Task.BINARY, SLOTS)
    scores, y = binary_rows(200)
    scores[:, 2] = np.nan
    before = learner.layers[0, 4 + 2]
    replay(learner, scores, y)
    assert learner.layers[0, 4 + 2] == pytest.approx(before)
    assert learner.slot_rows.tolist() == [200, 200, 0, 200]
    assert learner.regret[2] == 0


def test_the_answer_goes_on_without_a_slot_that_fails():
    learner = MixtureLearner(Task.BINARY, SLOTS)
    scores, _ = binary_rows(3)
    scores[1, 0] = np.nan
    answer = MixtureScorer(learner.weights(learner.slots)).mix(scores)
    assert np.isfinite(answer.scores).all()
    assert np.isnan(answer.said[1, 4]).all()


def test_the_guard_gives_the_champion_its_share():
    learner = MixtureLearner(Task.BINARY, SLOTS)
    scores, _ = binary_rows(20)
    alone = MixtureScorer(learner.weights(SLOTS, guard=1.0)).mix(scores)
    assert alone.scores == pytest.approx(np.clip(scores[:, 0, 0], 0.005, 0.995))


def test_a_slot_joins_with_the_weight_of_one_member_and_the_bound_grows_by_it():
    learner = MixtureLearner(Task.BINARY, ("champion", "all"))
    replay(learner, *binary_rows(100, slots=2))
    regret, bound = learner.regret.copy(), learner.bound
    learner.add_slot("90d")
    assert learner.layers.sum(axis=1) == pytest.approx(np.ones(3))
    assert learner.layers[:, 4 + 2] == pytest.approx(np.full(3, 1 / 8))
    assert learner.bound == pytest.approx(bound + math.log(8 / 7))
    replay(learner, *binary_rows(100, seed=1, slots=3))
    assert learner.regret[:2].tolist() != regret.tolist()
    assert learner.slot_rows.tolist() == [200, 200, 100]


def test_a_slot_retires_and_its_weight_goes_to_the_others():
    learner = MixtureLearner(Task.BINARY, SLOTS)
    learner.remove_slot("1/4")
    assert learner.slots == ("champion", "all", "1/16")
    assert learner.layers.sum(axis=1) == pytest.approx(np.ones(3))
    with pytest.raises(InvalidRequest, match="cannot retire"):
        learner.remove_slot("1/4")


def test_rows_of_another_layout_are_learned_by_the_names_of_their_slots():
    learner = MixtureLearner(Task.BINARY, ("champion", "1/4"))
    other = MixtureLearner(Task.BINARY, ("1/4", "champion", "all"))
    scores, y = binary_rows(30, slots=3)
    answer = MixtureScorer(other.weights(other.slots)).mix(scores)
    learner.learn(LearnedRows(other.slots, answer.said, answer.scores[:, None], y))
    assert learner.slot_loss[0] == pytest.approx(other_loss(scores[:, 1, 0], y))


def other_loss(probability, y):
    clipped = np.clip(probability, 0.005, 0.995)
    return -np.log(np.where(y == 1, clipped, 1 - clipped)).sum()


def test_probabilities_of_zero_and_one_cost_no_more_than_the_bound_of_a_row():
    learner = MixtureLearner(Task.BINARY, SLOTS)
    scores = np.tile(np.array([0.0, 1.0, 0.0, 1.0])[None, :, None], (50, 1, 1))
    replay(learner, scores, np.arange(50) % 2.0)
    assert np.isfinite(learner.layers).all()
    assert (learner.slot_loss <= 50 * 5.3).all()


def test_constant_predictions_are_answered():
    learner = MixtureLearner(Task.BINARY, SLOTS)
    replay(learner, np.full((100, 4, 1), 0.5), np.ones(100))
    assert MixtureScorer(learner.weights(learner.slots)).mix(np.full((1, 4, 1), 0.5)).scores[0] > 0.5


def test_an_outcome_that_is_no_class_is_refused_before_anything_is_learned():
    learner = MixtureLearner(Task.BINARY, SLOTS)
    before = learner.to_plain()
    scores, y = binary_rows(3)
    y[2] = 2.0
    with pytest.raises(InvalidData, match=r"outcome 2\.0"):
        replay(learner, scores, y, step=3)
    assert learner.to_plain() == before


def test_a_regression_without_bounds_is_refused():
    with pytest.raises(InvalidRequest, match="finite bounds"):
        MixtureLearner(Task.REGRESSION, SLOTS, low=1.0, high=1.0)


def test_more_classes_than_can_be_mixed_are_refused():
    with pytest.raises(InvalidRequest, match="at most 20 classes, got 21"):
        MixtureLearner(Task.MULTICLASS, SLOTS, outputs=21)
