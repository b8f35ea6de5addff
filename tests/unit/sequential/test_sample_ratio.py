import numpy as np
import pytest
from scipy.stats import binom

from optagent.codec import decode, encode
from optagent.errors import InvalidData
from optagent.sequential.sample_ratio import SampleRatioTest, log_evidence

ALPHA = 0.05


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_sound_assignment_alarms_no_more_often_than_alpha_with_a_look_at_every_row(share):
    to_candidate = np.random.default_rng(0).random((200, 20_000)) < share
    candidate, rows = np.cumsum(to_candidate, axis=1), np.arange(1, 20_001)
    evidence = log_evidence(candidate, rows - candidate, share)

    assert (evidence.max(axis=1) >= np.log(1 / ALPHA)).sum() <= binom.ppf(0.999, 200, ALPHA)


def test_a_half_that_is_52_percent_is_found():
    to_candidate = np.random.default_rng(1).random((50, 20_000)) < 0.52
    tests = [SampleRatioTest().after(run, np.full(20_000, 0.5)) for run in to_candidate]

    assert np.mean([test.e_value >= 1 / ALPHA for test in tests]) > 0.9


def test_a_ramp_is_held_against_the_share_of_its_time():
    rng = np.random.default_rng(2)
    share = np.repeat([0.05, 0.25, 0.5], 10_000)
    sound = SampleRatioTest().after(rng.random(30_000) < share, share)

    assert sound.e_value < 1 / ALPHA
    assert sound.expected_share == pytest.approx(np.mean(share))
    assert SampleRatioTest().after(rng.random(30_000) < np.mean(share), share).e_value >= 1 / ALPHA


def test_requests_in_portions_say_what_all_say_at_once():
    rng = np.random.default_rng(3)
    share = np.repeat([0.05, 0.25], 1_000)
    to_candidate = rng.random(2_000) < share
    state = SampleRatioTest()
    for part in np.array_split(np.arange(2_000), 7):
        state = decode(SampleRatioTest, encode(state.after(to_candidate[part], share[part])))

    assert state == SampleRatioTest().after(to_candidate, share)
    assert state.rows == 2_000
    assert state.observed_share == to_candidate.mean()


def test_before_any_request_nothing_is_known():
    assert SampleRatioTest().e_value == 1
    assert SampleRatioTest().observed_share is None
    assert SampleRatioTest().expected_share is None


def test_all_requests_to_one_arm_stay_a_number():
    assert SampleRatioTest().after(np.ones(100_000, dtype=bool), np.full(100_000, 0.05)).e_value == pytest.approx(1e300)


def test_a_share_that_is_none_is_refused():
    with pytest.raises(InvalidData, match=r"between 0 and 1, row 1 has 1\.0"):
        SampleRatioTest().after(np.array([True, True]), np.array([0.5, 1.0]))
