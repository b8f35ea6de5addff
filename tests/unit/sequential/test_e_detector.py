import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import norm, poisson

from optagent.codec import decode, encode
from optagent.errors import InvalidData, InvalidRequest
from optagent.sequential.batch_means import SettledBlock
from optagent.sequential.block_baseline import baseline_of
from optagent.sequential.blocks import block_length, block_means
from optagent.sequential.e_detector import EDetector, e_detector
from optagent.sequential.run_length import arl_rows, rows_per_second

ARL = 10_000
REFERENCE = 2_000


def uniforms(seed, rows, correlation=0.0):
    """Between 0 and 1, as a latent Gaussian AR(1) series makes them."""
    normal = np.random.default_rng(seed).standard_normal(rows)
    if correlation:
        normal = lfilter([math.sqrt(1 - correlation**2)], [1, -correlation], normal)
    return norm.cdf(normal)


def errors(seed, rows, rate=0.2, correlation=0.0):
    return (uniforms(seed, rows, correlation) < rate).astype(float)


def delay(seed, rate, correlation=0.0):
    """Rows from the change to the alarm, None for an alarm before."""
    chance = uniforms(seed, REFERENCE + 22_000, correlation)
    change = REFERENCE + int(np.random.default_rng(seed).integers(500, 2500))
    losses = (chance < np.where(np.arange(len(chance)) < change, 0.2, rate)).astype(float)
    alarm = e_detector(baseline_of(losses[:REFERENCE]), ARL).after(losses[REFERENCE:]).alarm
    rows = math.inf if alarm is None else alarm.row + 1 + REFERENCE - change
    return rows if rows > 0 else None


@pytest.mark.parametrize(
    ("rate", "correlation"), [(0.2, 0.0), (0.2, 0.6), (0.2, 0.9), (0.01, 0.0)], ids=["iid", "ar6", "ar9", "rare"]
)
def test_false_alarms_are_no_more_often_than_asked_for(rate, correlation):
    alarms = exposure = 0
    for seed in range(100):
        losses = errors(seed, REFERENCE + 2 * ARL, rate, correlation)
        alarm = e_detector(baseline_of(losses[:REFERENCE]), ARL).after(losses[REFERENCE:]).alarm
        alarms += alarm is not None
        exposure += alarm.row + 1 if alarm else 2 * ARL

    assert alarms <= poisson.ppf(0.999, exposure / ARL)
    assert alarms >= 0.1 * exposure / ARL  # nor so seldom that it cannot be what was asked for


def test_without_blocks_autocorrelation_would_raise_false_alarms_far_more_often(monkeypatch):
    monkeypatch.setattr("optagent.sequential.block_baseline.settled_block", lambda losses: SettledBlock(1))
    alarms = exposure = 0
    for seed in range(30):
        losses = errors(seed, REFERENCE + 2 * ARL, 0.2, 0.6)
        alarm = e_detector(baseline_of(losses[:REFERENCE]), ARL).after(losses[REFERENCE:]).alarm
        alarms += alarm is not None
        exposure += alarm.row + 1 if alarm else 2 * ARL

    assert alarms > poisson.ppf(0.999, 2 * exposure / ARL)


def test_an_error_rate_that_goes_from_20_to_30_percent_is_found_within_396_rows():
    delays = [rows for seed in range(100) if (rows := delay(seed, 0.3)) is not None]

    assert np.median(delays) < 300
    assert len(delays) > 85


def test_with_dependent_errors_it_takes_longer_but_is_found():
    assert np.median([rows for seed in range(60) if (rows := delay(seed, 0.3, 0.6)) is not None]) < 900


def test_the_change_is_dated_near_where_it_was():
    off = []
    for seed in range(60):
        losses = np.concatenate([errors(seed, 5_000, 0.2), errors(seed + 1_000, 3_000, 0.35)])
        alarm = e_detector(baseline_of(losses[:3_000]), 100_000).after(losses[3_000:]).alarm
        off.append(abs(alarm.start - 2_000))
        assert alarm.start <= alarm.row

    assert np.median(off) < 100


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 1500), max_size=6))
def test_rows_in_any_portions_give_the_same_state(cuts):
    losses = np.concatenate([errors(1, 1000, 0.2), errors(2, 500, 0.4)])
    start = e_detector(baseline_of(errors(3, 1000)), 5_000)
    whole, state = start.after(losses), start
    for part in np.split(losses, sorted(cuts)):
        state = state.after(part)

    assert (state.alarm, state.rows, state.waiting) == (whole.alarm, whole.rows, whole.waiting)
    assert state.waiting_loss == pytest.approx(whole.waiting_loss)
    assert state.starts == whole.starts
    assert state.log_m == pytest.approx(whole.log_m)
    assert state.log_peaks == pytest.approx(whole.log_peaks, abs=1e-9)


def test_a_state_goes_on_after_it_was_stored_as_json():
    state = e_detector(baseline_of(errors(0, 500)), 5_000).after(errors(1, 333))

    assert decode(EDetector, encode(state)).after(errors(2, 500, 0.5)) == state.after(errors(2, 500, 0.5))


def test_a_state_that_saw_nothing_can_be_stored_too():
    state = e_detector(baseline_of(errors(0, 500)), 5_000)

    assert state.e_value == 0
    assert decode(EDetector, encode(state)) == state


def test_the_evidence_is_the_sum_over_all_starts_of_the_bets_since():
    losses = errors(5, 40, 0.4)
    baseline = baseline_of(errors(6, 500))
    increments = np.exp(baseline.log_increments(block_means(losses, baseline.block)))
    sums = sum(increments[start:].prod(axis=0) for start in range(len(increments)))

    assert e_detector(baseline, 1e9).after(losses).e_value == pytest.approx(sums.mean())


def test_on_the_reference_itself_no_bet_pays_on_average():
    losses = errors(7, 3_000)
    baseline = baseline_of(losses)

    assert (np.exp(baseline.log_increments(block_means(losses, baseline.block))).mean(axis=0) < 1).all()


def test_dependent_rows_get_longer_blocks():
    lengths = [block_length(errors(1, 20_000, 0.2, correlation)) for correlation in (0.0, 0.6, 0.9, 0.97)]

    assert lengths == sorted(lengths)
    assert lengths[0] == 10
    assert lengths[-1] > 100


def test_a_daily_rhythm_gets_blocks_that_hide_it():
    rng = np.random.default_rng(0)
    rate = 0.3 + 0.2 * np.sin(np.arange(20_000) * 2 * np.pi / 96)

    assert block_length((rng.random(20_000) < rate).astype(float)) >= 96


def test_one_error_of_a_model_that_never_erred_is_no_alarm():
    losses = np.zeros(2_000)
    losses[1_000] = 1.0
    start = e_detector(baseline_of(np.zeros(1_000)), 10_000)

    assert start.after(losses).alarm is None
    assert start.after(errors(1, 500, 0.05)).alarm is not None


def test_endless_evidence_stays_a_number():
    state = e_detector(baseline_of(errors(0, 1_000, 0.05)), 1_000).after(np.ones(50_000))

    assert state.e_value == pytest.approx(1e300)
    assert math.isfinite(state.log_m[0])


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (np.full(300, 1.5), "row 0 has 1.5"),
        (np.append(np.zeros(300), np.nan), "row 300 has nan"),
        (np.zeros(20), "at least 200 losses, got 20"),
    ],
)
def test_losses_that_cannot_be_used_are_refused(losses, message):
    with pytest.raises(InvalidData, match=message):
        baseline_of(losses)


def test_a_run_length_that_is_none_is_refused():
    with pytest.raises(InvalidRequest, match="arl_rows must be above 0, got 0"):
        e_detector(baseline_of(errors(0, 500)), 0)
    with pytest.raises(InvalidRequest, match="got 86400 and 0"):
        arl_rows(86_400, 0)


def test_the_rate_of_rows_of_one_instant_is_not_known():
    assert rows_per_second(np.array([5.0, 5.0])) is None
    assert rows_per_second(np.array([0.0, 10.0, 20.0])) == pytest.approx(0.1)
