from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from optagent.analysis.rollout_evidence import (
    GuardedRequests,
    PairedLosses,
    SplitLosses,
    look_at,
    over_budget,
    paired_sequence,
    sum_gate_rows,
)
from optagent.domain.gate import Verdict
from optagent.domain.rollout import advance, begin
from optagent.domain.rollout_look import RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.errors import InvalidData, InvalidRequest
from optagent.sequential.confidence_sequence import ConfidenceSequence

POLICY = RolloutPolicy(min_rows=1_000, horizon_rows=8_000, ramp_horizon_rows=200_000, ramp_margin=0.2, baking_s=0.0)
SOUND = GuardedRequests(np.arange(500.0), {"errors": np.zeros(500), "slow": np.zeros(500)})
UNGUARDED = GuardedRequests(np.zeros(0), {})


def start_rollout(state=RolloutState.SHADOW, **changes):
    return begin("r1", "churn", "3", "4", replace(POLICY, shadow=state is RolloutState.SHADOW, **changes), 0.0, "ana")


def paired_losses(seed, better=0.0, correlation=0.0, rows=8_000):
    """Losses of both versions on rows of unequal difficulty; the candidate's are lower by `better` on average."""
    rng = np.random.default_rng(seed)
    noise = lfilter([(1 - correlation**2) ** 0.5], [1, -correlation], rng.normal(size=rows))
    row = rng.exponential(1.0, rows)
    return PairedLosses(row, row - better + 0.3 * noise)


def upto(losses, rows):
    return PairedLosses(losses.champion[:rows], losses.candidate[:rows])


def run_shadow(losses, rollout=None, every=500):
    """The rollout after a look at every so many rows of shadow, until it leaves shadow."""
    rollout = rollout or start_rollout()
    for rows in range(every, len(losses.champion) + 1, every):
        rollout = advance(rollout, look_at(rollout, f"look{rows}", rows, upto(losses, rows), SOUND), float(rows))
        if rollout.state is not RolloutState.SHADOW:
            break
    return rollout


def split(rng, share, better=0.0, rows=20_000):
    candidate = rng.random(rows) < share
    loss = rng.exponential(1.0, rows) - better * candidate
    return SplitLosses(candidate, np.full(rows, share), loss, np.ones(rows, dtype=bool))


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_a_candidate_that_is_no_better_is_promoted_no_more_often_than_alpha(correlation):
    ends = [run_shadow(paired_losses(seed, correlation=correlation), every=1_000).state for seed in range(100)]
    decided = sum(state in (RolloutState.RAMP, RolloutState.ROLLED_BACK) for state in ends)

    assert decided <= binom.ppf(0.999, 100, POLICY.shadow_alpha)
    assert ends.count(RolloutState.INCONCLUSIVE) == 100 - decided


def test_a_better_candidate_leaves_shadow_and_a_worse_one_is_rolled_back():
    assert run_shadow(paired_losses(1, better=0.05)).state is RolloutState.RAMP
    worse = run_shadow(paired_losses(1, better=-0.05))

    assert worse.state is RolloutState.ROLLED_BACK
    assert worse.looks[-1].look.rows <= 4_000


def test_great_harm_is_rolled_back_at_the_first_look_that_may_judge():
    assert len(run_shadow(paired_losses(2, better=-1.0)).looks) == 2


def test_a_better_candidate_goes_all_the_way():
    rng = np.random.default_rng(3)
    rollout, parts = run_shadow(paired_losses(3, better=0.3)), []
    while rollout.state is RolloutState.RAMP and len(parts) < 12:
        parts.append(split(rng, POLICY.ramp[rollout.step], better=0.3))
        losses = SplitLosses(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("candidate", "share", "loss", "matured")
            )
        )
        rollout = advance(rollout, look_at(rollout, f"ramp{len(parts)}", 1e4, losses, SOUND), 1e4)
    assert rollout.state is RolloutState.BAKING
    rollout = advance(rollout, look_at(rollout, "baked", 2e4, None, SOUND), 2e4)

    assert rollout.state is RolloutState.PROMOTED


def test_the_block_is_settled_by_the_first_rows():
    difference = paired_losses(4, correlation=0.9).champion - paired_losses(4, correlation=0.9).candidate
    blocks = {paired_sequence(difference[:rows], POLICY, 0.05).block for rows in (1_000, 3_000, 8_000)}

    assert len(blocks) == 1
    assert paired_sequence(difference, replace(POLICY, block=77), 0.05).block == 77


def test_a_policy_of_very_few_rows_waits_for_a_normal_law():
    losses = paired_losses(4, better=5.0)
    rollout = start_rollout(min_rows=1)

    assert look_at(rollout, "a", 1.0, upto(losses, 199), SOUND).improvement is None
    assert look_at(rollout, "a", 1.0, upto(losses, 0), SOUND).improvement is None
    assert look_at(rollout, "a", 1.0, upto(losses, 400), SOUND).improvement is not None


def test_a_ramp_without_a_request_yet_says_nothing():
    ramp = start_rollout(RolloutState.RAMP)
    nothing = SplitLosses(np.zeros(0, bool), np.zeros(0), np.zeros(0), np.zeros(0, bool), np.zeros(0, int))
    after = advance(ramp, look_at(ramp, "a", 1.0, nothing, UNGUARDED), 1.0)

    assert (after.state, after.step) == (RolloutState.RAMP, 0)


def test_a_candidate_that_answers_nothing_of_use_is_never_promoted():
    losses = paired_losses(5, better=0.5)
    losses.candidate[7] = np.nan
    rollout = start_rollout()
    look = look_at(rollout, "a", 1.0, losses, SOUND)

    assert look.improvement is None
    assert look.notes == ("1 rows have a loss of one version only",)
    assert advance(rollout, look, 1.0).state is RolloutState.INCONCLUSIVE


def test_rows_without_a_label_are_left_out():
    losses = paired_losses(6, better=0.5)
    losses.champion[::2] = losses.candidate[::2] = np.nan

    look = look_at(start_rollout(), "a", 1.0, losses, SOUND)
    assert look.rows == 4_000
    assert look.improvement is not None


def test_the_same_version_twice_proves_nothing():
    losses = paired_losses(7)
    same = PairedLosses(losses.champion, losses.champion.copy())
    look = look_at(start_rollout(margin=0.1), "a", 1.0, same, SOUND)

    assert look.improvement is None
    assert "for a normal law" in look.notes[0]


def test_only_rows_before_the_first_that_has_not_matured_count():
    rng = np.random.default_rng(8)
    losses = split(rng, 0.5, rows=4_000)
    losses.matured[3_000] = False
    ramp = start_rollout(RolloutState.RAMP, ramp=(0.5,))

    assert look_at(ramp, "a", 1.0, losses, SOUND).rows == 3_000
    half = replace(paired_losses(8), matured=np.arange(8_000) < 2_500)
    assert look_at(start_rollout(), "a", 1.0, half, SOUND).rows == 2_500


def test_rows_of_the_step_are_those_of_its_share():
    rng = np.random.default_rng(9)
    losses = split(rng, 0.25, rows=3_000)
    losses.share[:1_000] = 0.05
    ramp = start_rollout(RolloutState.RAMP, ramp=(0.25, 0.5))
    look = look_at(ramp, "a", 1.0, losses, SOUND)

    assert (look.rows, look.step_rows) == (3_000, 2_000)


def test_half_of_the_traffic_that_is_52_percent_is_rolled_back():
    rng = np.random.default_rng(10)
    losses = replace(split(rng, 0.52, rows=40_000), share=np.full(40_000, 0.5))
    ramp = start_rollout(RolloutState.RAMP, ramp=(0.5,))
    after = advance(ramp, look_at(ramp, "a", 1.0, losses, SOUND), 1.0)

    assert after.state is RolloutState.ROLLED_BACK
    assert after.transitions[-1].reason.startswith("sample ratio 0.5")


def test_labels_that_only_one_arm_gets_are_a_mismatch():
    rng = np.random.default_rng(11)
    losses = split(rng, 0.5, rows=4_000)
    losses.loss[losses.candidate & (rng.random(4_000) < 0.3)] = np.nan
    ramp = start_rollout(RolloutState.RAMP, ramp=(0.5,))
    look = look_at(ramp, "a", 1.0, losses, SOUND)

    assert advance(ramp, look, 1.0).state is RolloutState.ROLLED_BACK
    assert look.notes[0].endswith("matured rows have no label")


def test_heavy_users_are_no_mismatch():
    rng = np.random.default_rng(12)
    units = np.minimum(rng.zipf(1.5, 20_000), 3_000)
    candidate = (rng.random(3_001) < 0.5)[units]
    losses = SplitLosses(candidate, np.full(20_000, 0.5), rng.normal(size=20_000), np.ones(20_000, dtype=bool), units)
    ramp = start_rollout(RolloutState.RAMP, ramp=(0.5,))
    with_units = look_at(ramp, "a", 1.0, losses, SOUND).sample_ratio
    without = look_at(ramp, "a", 1.0, replace(losses, units=None), SOUND).sample_ratio

    assert with_units.e_value < 1 / POLICY.sample_ratio_alpha < without.e_value
    assert with_units.rows == len(np.unique(units))


def test_a_candidate_that_always_fails_is_rolled_back():
    rollout = start_rollout()
    failing = GuardedRequests(np.arange(1_000.0), {"errors": np.ones(1_000), "slow": np.zeros(1_000)})
    look = look_at(rollout, "a", 1.0, None, failing)

    assert advance(rollout, look, 1.0).state is RolloutState.ROLLED_BACK


def test_a_candidate_that_never_answers_is_over_its_budget():
    flags = over_budget(np.array([10.0, 50.0, 51.0, np.nan]), 50.0)

    assert flags.tolist() == [0, 0, 1, 1]


def test_a_candidate_that_fails_too_often_is_not_promoted_before_that_is_beyond_doubt():
    flags = np.zeros(500)
    flags[::40] = 1
    guarded = GuardedRequests(np.arange(500.0), {"errors": flags, "slow": np.zeros(500)})
    rollout = start_rollout()
    losses = upto(paired_losses(13, better=0.5), 4_000)
    after = advance(rollout, look_at(rollout, "a", 1.0, losses, guarded), 1.0)

    assert after.state is RolloutState.SHADOW
    assert after.looks[-1].reason.startswith("errors: rate 0.0")


def test_one_slow_request_of_many_rows_does_not_end_a_rollout():
    slow = np.zeros(2_000)
    slow[1_000] = 1
    guarded = GuardedRequests(np.arange(2_000.0), {"errors": np.zeros(2_000), "slow": slow})
    rollout = start_rollout()
    after = advance(rollout, look_at(rollout, "a", 1.0, paired_losses(13, better=0.5), guarded), 1.0)

    assert after.state is RolloutState.RAMP


def test_a_guardrail_that_nobody_reads_promotes_nothing():
    rollout = start_rollout()
    unwatched = GuardedRequests(np.arange(500.0), {"errors": np.zeros(500)})
    look = look_at(rollout, "a", 1.0, paired_losses(13, better=0.5), unwatched)
    after = advance(rollout, replace(look, rows=5_000), 1.0)

    assert after.state is RolloutState.SHADOW
    assert after.looks[-1].verdict is Verdict.ERROR
    assert after.looks[-1].reason == "no value for slow"


def test_harm_on_split_traffic_is_seen_on_the_rows_that_both_versions_scored():
    rollout = advance(start_rollout(), look_at(start_rollout(), "a", 1.0, paired_losses(13, better=0.5), SOUND), 1.0)
    losses = replace(split(np.random.default_rng(5), 0.05, rows=3_000), paired=paired_losses(5, -0.05, rows=3_000))
    look = look_at(rollout, "b", 2.0, losses, SOUND)
    after = advance(rollout, look, 2.0)

    assert look.improvement is None  # the candidate's 5 % of rows are too few for themselves
    assert after.state is RolloutState.ROLLED_BACK
    assert after.looks[-1].reason.startswith("improvement on the same rows at most -0.0")


def test_shadow_goes_on_from_the_rows_of_the_gate_as_if_they_were_its_first():
    whole = paired_losses(21, better=0.02, rows=3_000)
    difference = whole.champion - whole.candidate
    gated = start_rollout(min_rows=200)
    gated = replace(gated, gate=sum_gate_rows(difference[:1_300], 0.03))
    shadow = PairedLosses(whole.champion[1_300:], whole.candidate[1_300:])
    look = look_at(gated, "a", 1.0, shadow, SOUND)
    together = ConfidenceSequence(0.03, 3_000, gated.gate.block).after(difference)

    assert look.rows == 1_700
    assert look.improvement.alpha == 0.03
    assert look.improvement.low == pytest.approx(together.bounds(0.03, POLICY.shadow_alpha, POLICY.tuned_rows).low)


def test_rows_of_the_wrong_kind_are_refused():
    with pytest.raises(InvalidRequest, match="is shadow, got SplitLosses"):
        look_at(start_rollout(), "a", 1.0, split(np.random.default_rng(0), 0.5), SOUND)
    with pytest.raises(InvalidRequest, match="is ramp, got PairedLosses"):
        look_at(start_rollout(RolloutState.RAMP), "a", 1.0, paired_losses(0), SOUND)
    with pytest.raises(InvalidData, match="of one length, got 2 and 3"):
        PairedLosses(np.zeros(2), np.zeros(3))
