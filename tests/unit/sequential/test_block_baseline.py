"""The block baseline: blocks that cover cycles and memory, and what too short a reference leaves open."""

import numpy as np
import pytest

from optagent.sequential.batch_means import design_effects, settled_block
from optagent.sequential.block_baseline import baseline_of
from optagent.sequential.loss_cycles import DAY_S, WEEK_S, cycles_of
from tests.simulation.streams import autoregressive, daily_cycle, day_effects, request_times, weekly_cycle


def uniform_losses(seed, rows, shift=0.0):
    return np.clip(0.5 + 0.12 * np.random.default_rng(seed).standard_normal(rows) + shift, 0, 1)


TIMES = request_times(20_000, 500)


def test_independent_losses_have_no_cycle_and_short_blocks():
    baseline = baseline_of(uniform_losses(0, 20_000), TIMES)

    assert baseline.block <= 40
    assert (baseline.cycle_s, baseline.doubt) == (0.0, "")


@pytest.mark.parametrize(
    ("shift", "cycle_s"),
    [(0.05 * daily_cycle(TIMES), DAY_S), (0.05 * weekly_cycle(TIMES), WEEK_S)],
    ids=["day", "week"],
)
def test_blocks_are_whole_turns_of_the_cycle_that_losses_follow(shift, cycle_s):
    losses = uniform_losses(1, 20_000, shift)
    baseline = baseline_of(losses, TIMES)

    assert cycle_s in cycles_of(losses, TIMES)
    assert baseline.cycle_s == cycle_s
    assert baseline.block % round(500 * cycle_s / DAY_S) == 0
    assert baseline.spread < 0.02  # not that of the weekend


def test_a_reference_of_four_days_does_not_know_a_week():
    baseline = baseline_of(uniform_losses(2, 2_000), TIMES[:2_000])

    assert not baseline.knows_weeks
    assert baseline.doubt == "4.0 days do not tell what a week looks like"


def test_a_weak_but_long_memory_gets_longer_blocks_than_autocorrelation_shows():
    rng = np.random.default_rng(3)
    losses = uniform_losses(3, 20_000, 0.03 * day_effects(rng, TIMES))

    assert settled_block(losses).rows >= 100


def test_a_memory_that_outlasts_the_rows_is_not_settled():
    rng = np.random.default_rng(4)
    losses = np.clip(0.5 + 0.1 * autoregressive(rng, 2_000, 0.999), 0, 1)

    assert not settled_block(losses).settled
    assert "wanders" in baseline_of(losses).doubt


def test_blocks_of_other_lengths_keep_the_risk_of_the_mean():
    baseline = baseline_of(uniform_losses(5, 4_000))
    longer = baseline.resize(4 * baseline.block)

    assert longer.spread == pytest.approx(baseline.spread / 2)
    for fair, norm, long_norm in zip(baseline.fair, baseline.norms, longer.norms, strict=True):
        assert long_norm - fair == pytest.approx(2 * (norm - fair))


def test_rows_that_were_left_out_make_blocks_longer_but_not_less_varied():
    baseline = baseline_of(uniform_losses(6, 4_000))

    assert baseline.thin(5.0).block == 5 * baseline.block
    assert baseline.thin(5.0).spread == baseline.spread


def test_design_effects_grow_to_that_of_the_memory():
    effects = design_effects(autoregressive(np.random.default_rng(7), 50_000, 0.9))

    assert effects.at(1) == 1
    assert effects.at(1_000) == pytest.approx(19, rel=0.3)
    assert list(effects.effects) == sorted(effects.effects)
