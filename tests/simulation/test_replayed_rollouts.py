"""A replay's rollouts decide as live ones do: by the same rules, on what came until then, and no better is let by."""

import numpy as np
import pytest
from scipy.stats import binom

from optagent.domain.rollout_look import RolloutState
from tests.performance.decisions.replay import (
    BETTER_3,
    BETTER_10,
    EQUAL,
    ReplayedPair,
    decide_directly,
    promoted_days,
    states_of,
)
from tests.simulation.streams import DAY_S


@pytest.mark.parametrize("pair", [EQUAL, BETTER_3, BETTER_10], ids=["equal", "3 %", "10 %"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_replay_decides_what_the_rules_decide_on_the_same_losses_at_the_same_times(pair, seed):
    replayed = ReplayedPair(pair, seed, 300, 40, changes={"ramp": []})
    rollout, _ = replayed.replay()

    assert len(rollout.transitions) > 1
    assert states_of(rollout) == states_of(decide_directly(replayed, rollout))


def test_a_candidate_no_better_is_promoted_no_more_often_than_alpha():
    runs = 20

    assert len(promoted_days(EQUAL, runs, 300, 40)) <= binom.ppf(0.999, runs, 0.05)


def test_a_better_candidate_is_promoted_within_two_weeks_but_not_at_its_gate():
    days = promoted_days(BETTER_10, 6, 300, 40)

    assert len(days) == 6
    assert 3 < min(days) <= max(days) <= 14


def test_few_rows_a_day_take_longer_and_do_not_stop_a_better_candidate():
    days = promoted_days(BETTER_10, 3, 24, 120)

    assert len(days) == 3
    assert max(days) <= 60


def share_of_candidate(rollout, change):
    """The share of rows that the candidate answers from a transition on."""
    if change.state is RolloutState.RAMP:
        return rollout.policy.ramp[change.step]
    return 0.0 if change.state is RolloutState.SHADOW else 1.0


def test_who_answers_is_the_champion_in_shadow_a_share_in_the_ramp_and_then_the_candidate():
    replayed = ReplayedPair(BETTER_10, 0, 1_000, 30)
    rollout, _ = replayed.replay()
    assert rollout.state is RolloutState.PROMOTED
    versions, history = replayed.traffic.versions, replayed.history
    times = history.time[history.first :][: len(versions)]
    ends = [change.at for change in rollout.transitions[1:]] + [history.ends]
    for change, end in zip(rollout.transitions, ends, strict=True):
        rows = versions[(times >= change.at) & (times < end)] == "2"
        share = share_of_candidate(rollout, change)
        assert binom.ppf(0.0005, len(rows), share) <= rows.sum() <= binom.ppf(0.9995, len(rows), share)


def test_a_replay_is_the_same_twice_and_another_seed_draws_other_arms():
    first, again = (ReplayedPair(BETTER_10, 0, 300, 30) for _ in range(2))
    assert states_of(first.replay()[0]) == states_of(again.replay()[0])
    assert np.array_equal(first.traffic.prediction, again.traffic.prediction)
    assert np.array_equal(first.traffic.versions, again.traffic.versions)

    other = ReplayedPair(BETTER_10, 0, 300, 30, arms=1)
    other.replay()
    assert not np.array_equal(first.traffic.versions, other.traffic.versions)


def test_labels_that_have_not_come_decide_nothing():
    """Labels that are younger than their delay when the ramp begins are turned round, and all up to then stays."""
    rollout, _ = ReplayedPair(BETTER_10, 3, 300, 40).replay()
    ramp = next(change.at for change in rollout.transitions if change.state is RolloutState.RAMP)
    unknown, _ = ReplayedPair(BETTER_10, 3, 300, 40, turned_after=ramp - DAY_S).replay()
    known, _ = ReplayedPair(BETTER_10, 3, 300, 40, turned_after=ramp - 4 * DAY_S).replay()

    assert states_of(unknown)[:2] == states_of(rollout)[:2]
    assert states_of(known)[:2] != states_of(rollout)[:2]
