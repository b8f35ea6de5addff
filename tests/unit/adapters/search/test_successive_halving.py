"""Who goes on from a rung."""

import numpy as np

from optagent.adapters.search.successive_halving import EarlyStopping


def went_on(rungs: EarlyStopping, scores, units=3):
    return [rungs.goes_on(number, units, values) for number, values in enumerate(scores)]


def test_asha_lets_about_one_in_the_factor_go_on_and_always_the_best_so_far():
    scores = np.random.default_rng(0).random(300)
    kept = went_on(EarlyStopping("asha", (3, 9), 3, (1.0,)), [(score,) for score in scores])
    assert 0.25 < np.mean(kept) < 0.45
    best = np.maximum.accumulate(scores)
    assert all(kept[index] for index in range(300) if scores[index] == best[index])


def test_the_median_rule_knows_what_an_earlier_run_trained_to_its_end():
    rungs = EarlyStopping("median", (3, 9), 3, (-1.0,))
    for number in range(5):
        rungs.recall(number, {3: (0.5,)}, complete=True)
    assert rungs.goes_on(5, 3, (0.5,))
    assert not rungs.goes_on(6, 3, (0.6,))


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
    assert not by_quality.goes_on(99, 3, (0.85,))
    assert by_both.goes_on(99, 3, (0.85, 1.0))


def test_a_trial_is_judged_once_a_rung_and_never_at_the_last():
    rungs = EarlyStopping("asha", (3, 9), 3, (1.0,))
    assert rungs.goes_on(0, 3, (0.9,))
    assert not rungs.goes_on(1, 3, (0.1,))
    assert rungs.goes_on(0, 3, (0.1,))
    assert rungs.goes_on(2, 9, (0.0,))
    assert rungs.goes_on(2, 5, (0.0,))


def test_what_an_earlier_run_measured_counts():
    rungs = EarlyStopping("asha", (3, 9), 3, (1.0,))
    for number in range(5):
        rungs.recall(number, {3: (0.8 + number / 100,), 9: (0.9,)}, complete=False)
    assert not rungs.goes_on(9, 3, (0.5,))


def test_the_median_rule_stops_what_is_below_the_median_of_those_trained_to_their_end():
    rungs = EarlyStopping("median", (3, 9), 3, (1.0,))
    scores = [(0.1,), (0.2,), (0.3,), (0.4,), (0.5,)]
    assert all(went_on(rungs, scores))
    assert rungs.goes_on(5, 3, (0.0,)), "nobody has come to the end yet"
    for number in range(5):
        rungs.complete(number)
    assert rungs.goes_on(6, 3, (0.3,))
    assert not rungs.goes_on(7, 3, (0.29,))
    assert rungs.goes_on(9, 9, (0.0,)), "too few of them came to this rung"


def test_no_rule_stops_nobody_and_a_score_that_is_no_number_is_stopped():
    assert all(went_on(EarlyStopping("none", (3, 9), 3, (1.0,)), [(1.0,), (0.0,), (0.5,)]))
    assert not EarlyStopping("asha", (3, 9), 3, (1.0,)).goes_on(0, 3, (float("nan"),))
