"""ASHA and the median rule let trials go on from a rung by what was measured there."""

import numpy as np

from optagent.adapters.search.successive_halving import EarlyStopping


def went_on(stopping: EarlyStopping, scores, units=3):
    return [stopping.should_continue(number, units, values) for number, values in enumerate(scores)]


def test_asha_lets_about_one_in_the_factor_go_on_and_always_the_best_so_far():
    scores = np.random.default_rng(0).random(300)
    kept = went_on(EarlyStopping("asha", (3, 9), 3, (1.0,)), [(score,) for score in scores])
    assert 0.25 < np.mean(kept) < 0.45
    best = np.maximum.accumulate(scores)
    assert all(kept[index] for index in range(300) if scores[index] == best[index])


def test_the_median_rule_knows_what_an_earlier_run_trained_to_its_end():
    stopping = EarlyStopping("median", (3, 9), 3, (-1.0,))
    for number in range(5):
        stopping.restore(number, {3: (0.5,)}, complete=True)
    assert stopping.should_continue(5, 3, (0.5,))
    assert not stopping.should_continue(6, 3, (0.6,))


def test_what_is_minimised_is_ranked_the_other_way():
    scores = [(0.9,), (0.1,), (0.5,), (0.05,)]
    assert went_on(EarlyStopping("asha", (3, 9), 3, (-1.0,)), scores) == [True, True, False, True]


def test_a_cheap_model_of_lower_quality_is_not_stopped_when_cost_is_an_objective():
    rng = np.random.default_rng(0)
    dear = [(0.9 + 0.01 * rng.random(), 10.0 + rng.random()) for _ in range(30)]
    by_quality = EarlyStopping("asha", (3, 9), 3, (1.0,))
    by_both = EarlyStopping("asha", (3, 9), 3, (1.0, -1.0))
    went_on(by_quality, [(quality,) for quality, _ in dear])
    went_on(by_both, dear)
    assert not by_quality.should_continue(99, 3, (0.85,))
    assert by_both.should_continue(99, 3, (0.85, 1.0))


def test_a_trial_is_judged_once_a_rung_and_never_at_the_last():
    stopping = EarlyStopping("asha", (3, 9), 3, (1.0,))
    assert stopping.should_continue(0, 3, (0.9,))
    assert not stopping.should_continue(1, 3, (0.1,))
    assert stopping.should_continue(0, 3, (0.1,))
    assert stopping.should_continue(2, 9, (0.0,))
    assert stopping.should_continue(2, 5, (0.0,))


def test_what_an_earlier_run_measured_counts():
    stopping = EarlyStopping("asha", (3, 9), 3, (1.0,))
    for number in range(5):
        stopping.restore(number, {3: (0.8 + number / 100,), 9: (0.9,)}, complete=False)
    assert not stopping.should_continue(9, 3, (0.5,))


def test_the_median_rule_stops_what_is_below_the_median_of_those_trained_to_their_end():
    stopping = EarlyStopping("median", (3, 9), 3, (1.0,))
    scores = [(0.1,), (0.2,), (0.3,), (0.4,), (0.5,)]
    assert all(went_on(stopping, scores))
    assert stopping.should_continue(5, 3, (0.0,)), "nobody has come to the end yet"
    for number in range(5):
        stopping.mark_complete(number)
    assert stopping.should_continue(6, 3, (0.3,))
    assert not stopping.should_continue(7, 3, (0.29,))
    assert stopping.should_continue(9, 9, (0.0,)), "too few of them came to this rung"


def test_no_rule_stops_nobody_and_a_score_that_is_no_number_is_stopped():
    assert all(went_on(EarlyStopping("none", (3, 9), 3, (1.0,)), [(1.0,), (0.0,), (0.5,)]))
    assert not EarlyStopping("asha", (3, 9), 3, (1.0,)).should_continue(0, 3, (float("nan"),))
