"""Refits and rivals in simulation: the newest rows teach, and no champion wins by rows that it has learned."""

from collections import Counter

import pytest

from optagent.domain.gate import Verdict
from tests.performance.decisions.refit import (
    equal_candidates_failed,
    gain_error,
    loss_change,
    verdicts_on_short_window,
)


def test_where_the_world_drifts_a_refit_loses_less_on_the_next_rows():
    assert loss_change(4, drift=1.5, stream="iid") < -5


def test_where_nothing_changes_a_refit_does_no_harm():
    assert loss_change(4, drift=0.0, stream="iid") < 0


@pytest.mark.parametrize("stream", ["iid", "days"])
def test_a_better_candidate_does_not_fail_beside_a_champion_that_has_learned_half_of_its_holdout(stream: str):
    verdicts = Counter(verdicts_on_short_window(4, stream))
    assert verdicts[Verdict.FAIL] == 0
    assert verdicts[Verdict.PASS] >= 3


def test_equal_candidates_fail_no_more_often_than_alpha_allows():
    # At .025 a side, 2 or more of 10 fail in 2 % of all times.
    assert equal_candidates_failed(10, "days") <= 0.1


def test_the_gain_over_the_measured_version_is_that_of_the_refit_over_the_champion():
    assert abs(gain_error(3, drift=1.5, stands="measured version")) < 0.04
    assert gain_error(3, drift=1.5, stands="champion") < -0.05  # the champion itself has learned the holdout
