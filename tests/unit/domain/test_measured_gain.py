"""Measured gain: its verdict and reason at the gates, by what is required of it."""

import pytest

from optagent.domain.gate import Criterion, Gates, Verdict
from optagent.domain.measured_gain import MeasuredGain, judge_gain
from optagent.domain.study import Interval

NAN = float("nan")


def a_gain(low, high, least, estimate=0.0):
    interval = Interval(estimate, low, high, 0.1)
    return MeasuredGain(interval, least, 0.2, 0.004, "version 3", 0.75, "auc", 400)


@pytest.mark.parametrize(
    ("gain", "gates", "verdict"),
    [
        (a_gain(-0.01, 0.05, 0.001), Gates(), Verdict.PASS),
        (a_gain(-0.01, 0.05, 0.0), Gates(), Verdict.INCONCLUSIVE),
        (a_gain(-0.05, -0.001, -0.03), Gates(), Verdict.FAIL),
        (a_gain(-0.01, 0.05, -0.0075), Gates(beats_champion="not_worse", margin=0.01), Verdict.PASS),
        (a_gain(-0.01, 0.05, -0.0076), Gates(beats_champion="not_worse", margin=0.01), Verdict.INCONCLUSIVE),
        (a_gain(-0.05, -0.008, -0.03), Gates(beats_champion="not_worse", margin=0.01), Verdict.FAIL),
        (a_gain(-0.05, NAN, 0.01), Gates(), Verdict.ERROR),
    ],
)
def test_a_gain_passes_by_its_least_value_and_fails_where_it_is_worse_with_confidence(gain, gates, verdict):
    assert judge_gain("champion", gain, gates, Criterion.PROOF).verdict is verdict


def test_the_reason_of_a_gain_says_who_decides_and_the_gain_without_luck():
    passed = judge_gain("champion", a_gain(-0.01, 0.05, 0.001, 0.02), Gates(), Criterion.FILTER)
    assert passed.reason == (
        "filter, shadow decides: better than version 3 by 0.02 on 400 rows, at least 0.001 at 80 % confidence (auc);"
        " it had to be above 0; corrected for having passed, the gain is 0.004"
    )
    failed = judge_gain("champion", a_gain(-0.05, -0.001, -0.03, -0.02), Gates(), Criterion.PROOF)
    assert failed.reason == (
        "better than version 3 by -0.02 on 400 rows, at most -0.001 at 95 % confidence (auc); it had to be above 0"
    )
    assert "corrected" not in failed.evidence
