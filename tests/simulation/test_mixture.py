"""Mixtures against adversaries in simulation: what they may lose is bounded, with labels at once and late."""

import pytest

from tests.performance.decisions.mixture import (
    DELAY,
    STREAMS,
    run_mixture,
    stream_of,
    worst_late,
    worst_once,
)
from tests.performance.decisions.mixture_harm import harmed_share


@pytest.mark.parametrize("name", STREAMS)
def test_with_labels_at_once_no_slot_is_ever_further_ahead_than_the_bound(name: str):
    assert worst_once(3, name) <= 1


@pytest.mark.parametrize("late", ["fixed", "outcome"])
@pytest.mark.parametrize("name", STREAMS)
def test_with_late_labels_the_champion_is_never_further_ahead_than_its_bound(name: str, late: str):
    assert worst_late(2, name, late) <= 1


def test_without_the_guard_stretches_of_twice_the_delay_break_the_bound():
    assert worst_late(2, "stretches", is_guarded=False) > 1
    assert worst_late(2, "stretches") <= 1


def test_regret_against_other_slots_under_delays_is_no_promise_but_stays_below_that_against_the_champion():
    run = run_mixture(stream_of("stretches", 0, 600, "fixed"), DELAY // 4)
    print(
        f"nats behind each slot at worst: {run.behind}, the champion may be {(run.most_open + 1) * run.bound:.0f} ahead"
    )
    assert max(run.behind[1:]) < (run.most_open + 1) * run.bound


@pytest.mark.parametrize("seed", range(5))
def test_recalibration_alone_is_never_behind_the_model_that_is_never_trained_by_more_than_the_bound(seed: int):
    assert run_mixture(stream_of("recalibration", seed, 300), 1).slot_ratio <= 1


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_a_mixture_that_does_no_harm_is_hardly_ever_taken_out_however_often_is_looked(memory: float):
    assert harmed_share(60, fall=0.0, memory=memory, days=60) <= 0.05  # at .02, 4 or more of 60 are 3 in 100


def test_a_harm_as_large_as_the_spread_of_days_is_seen_within_a_month():
    assert harmed_share(20, fall=1.0, memory=0.0, days=30) >= 0.75
