import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import binom

from optagent.codec import decode, encode
from optagent.errors import InvalidData, InvalidRequest
from optagent.sequential.blocks import block_length
from optagent.sequential.confidence_sequence import ConfidenceSequence, radius
from tests.running_bounds import running_bounds

ALPHA = 0.05
ROWS = 10_000


def series(seed, runs, correlation=0.0, mean=0.0):
    """(runs, ROWS) of unit variance, Gaussian AR(1)."""
    normal = np.random.default_rng(seed).standard_normal((runs, ROWS))
    if correlation:
        normal = lfilter([math.sqrt(1 - correlation**2)], [1, -correlation], normal, axis=1)
    return normal + mean


def no_more_than(alpha, runs):
    """Of so many runs, at that rate: exceeded once in 1,000 times."""
    return binom.ppf(0.999, runs, alpha)


@pytest.mark.parametrize(("correlation", "block"), [(0.0, 10), (0.6, 50), (0.6, None)], ids=["iid", "ar6", "chosen"])
def test_looking_after_every_block_the_truth_is_left_out_no_more_often_than_alpha(correlation, block):
    rows = series(1, 200, correlation)
    wrong = 0
    for run in rows:
        low, high = running_bounds(run, ALPHA, ROWS, block or block_length(run[:1000]))
        wrong += bool((low > 0).any() or (high < 0).any())

    assert wrong <= no_more_than(ALPHA, len(rows))


def test_single_rows_that_go_together_leave_it_out_far_more_often():
    low, high = running_bounds(series(1, 100, 0.9), ALPHA, ROWS)

    assert ((low > 0) | (high < 0)).any(axis=1).mean() > 0.5


def test_blocks_that_are_too_short_are_made_up_for_by_their_neighbours():
    low, high = running_bounds(series(2, 300, 0.6), ALPHA, ROWS, block=10)

    assert ((low > 0) | (high < 0)).any(axis=1).sum() <= no_more_than(ALPHA, 300)


def test_a_difference_is_found():
    low, _ = running_bounds(series(3, 50, 0.6, mean=0.15), ALPHA, ROWS, block=50)

    assert (low > 0).any(axis=1).mean() > 0.9


def test_rare_heavy_losses_do_not_promote_what_only_wins_small_ones():
    rng = np.random.default_rng(4)
    differ = rng.random((200, ROWS)) < 0.02
    won = differ * np.where(rng.random(differ.shape) < 0.02, -1.96, 0.04)  # nothing on average
    low, _ = running_bounds(won, ALPHA, ROWS, block=10)

    assert (low > 0).any(axis=1).sum() <= no_more_than(ALPHA, 200)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 2_000), max_size=6), block=st.sampled_from([1, 7, 50]))
def test_rows_in_portions_say_what_all_rows_say_at_once(cuts, block):
    rows = np.random.default_rng(5).normal(3.0, 1.0, 2_000)
    state = ConfidenceSequence(ALPHA, ROWS, block)
    for part in np.split(rows, sorted(cuts)):
        state = decode(ConfidenceSequence, encode(state.after(part)))
    interval = state.interval()
    low, high = running_bounds(rows, ALPHA, ROWS, block)

    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((low[-1], high[-1]))
    assert interval.estimate == pytest.approx(rows[: state.rows].mean())
    assert state.rows + len(state.waiting) == 2_000


def test_the_width_is_that_of_the_paper():
    t, s, n = 500, 2.0, 1_000
    r2 = (-2 * math.log(ALPHA) + math.log(1 - 2 * math.log(ALPHA))) / n
    formula = s * math.sqrt(2 * (t * r2 + 1) / (t**2 * r2) * math.log(math.sqrt(t * r2 + 1) / ALPHA))

    assert radius(t, s, ALPHA, n) == pytest.approx(formula)


def test_the_interval_is_narrowest_for_its_rows_at_the_horizon():
    widths = [float(radius(1_000, 1.0, ALPHA, horizon)) for horizon in (100, 500, 1_000, 2_000, 10_000)]

    assert min(widths) == widths[2]


@pytest.mark.parametrize("rows", [np.zeros(5_000), np.ones(190), np.eye(1, 5_000).ravel()], ids=["same", "few", "one"])
def test_rows_that_say_too_little_have_no_interval(rows):
    assert ConfidenceSequence(ALPHA, ROWS, 5).after(rows).interval() is None


def test_what_is_no_number_is_refused():
    with pytest.raises(InvalidData, match="row 1 has nan"):
        ConfidenceSequence(ALPHA, ROWS).after(np.array([1.0, np.nan]))
    with pytest.raises(InvalidRequest, match="alpha must be between 0 and 1, got 1"):
        ConfidenceSequence(1.0, ROWS)
    with pytest.raises(InvalidRequest, match="block must be between 1 and the horizon 100, got 200"):
        ConfidenceSequence(ALPHA, 100, 200)
