"""The loss watch: evidence that goes on from portion to portion, and back through JSON."""

import numpy as np
import pytest

from optagent.analysis.loss_watch import LossWatch, started_watch
from optagent.codec import decode, encode
from optagent.domain.concept_drift import DriftState
from optagent.sequential.block_baseline import baseline_of

DAY_S, ROWS_A_DAY, EVERY_S = 86_400.0, 40, 90 * 86_400.0


def losses_of(seed, days, rate=0.2):
    rng = np.random.default_rng(seed)
    return (rng.random(days * ROWS_A_DAY) < rate).astype(float)


def times_from(day, days):
    return (day + np.arange(days * ROWS_A_DAY) / ROWS_A_DAY) * DAY_S


BASELINE = baseline_of(losses_of(0, 50))


def watched(rate, days=60, portion=1):
    watch, losses, times = started_watch(BASELINE, 0.0), losses_of(1, days, rate), times_from(0, days)
    for day in range(0, days, portion):
        rows = slice(day * ROWS_A_DAY, (day + portion) * ROWS_A_DAY)
        watch = watch.after(losses[rows], times[rows], (day + portion) * DAY_S, EVERY_S)
        watch = decode(LossWatch, encode(watch))
    return watch


def test_small_portions_add_up_to_an_alarm_with_its_time_and_start():
    watch = watched(0.3)

    assert watch.alarmed_at is not None
    assert 0 <= watch.changed_at <= watch.alarmed_at < 30 * DAY_S
    assert watch.verdict(EVERY_S).is_detected


def test_the_start_of_a_rise_is_dated_by_rows_of_an_earlier_portion():
    quiet = started_watch(BASELINE, 0.0).after(losses_of(2, 20), times_from(0, 20), 20 * DAY_S, EVERY_S)
    watch = quiet
    for day in range(20, 40):
        watch = watch.after(losses_of(day, 1, 0.45), times_from(day, 1), (day + 1) * DAY_S, EVERY_S)

    assert quiet.alarmed_at is None
    assert watch.changed_at == pytest.approx(20 * DAY_S, abs=3 * DAY_S)


@pytest.mark.parametrize("portion", [5, 20])
def test_portions_do_not_matter_to_the_rows_that_were_seen(portion):
    one, other = watched(0.21, portion=1), watched(0.21, portion=portion)

    assert other.detector.log_m == pytest.approx(one.detector.log_m)
    assert (other.since, other.waiting_since) == (one.since, one.waiting_since)


def test_the_threshold_follows_the_rate_of_rows():
    watch = watched(0.2)

    assert watch.detector.threshold == pytest.approx(90 * ROWS_A_DAY / BASELINE.block, rel=0.02)


def test_an_alarm_stands_until_it_was_answered():
    watch = watched(0.3)

    assert watch.renew(answered=False) is watch
    again = watch.renew(answered=True)
    assert (again.alarmed_at, again.detector.e_value, again.until) == (None, 0.0, watch.until)


def test_an_alarm_ends_when_its_evidence_is_gone():
    watch = watched(0.3, days=20)
    for day in range(20, 120):
        watch = watch.after(losses_of(day, 1, 0.1), times_from(day, 1), (day + 1) * DAY_S, EVERY_S)

    assert watch.alarmed_at is not None
    assert watch.renew(answered=False).alarmed_at is None


def test_a_stretch_without_rows_only_moves_the_time():
    watch = started_watch(BASELINE, 0.0).after(np.empty(0), np.empty(0), DAY_S, EVERY_S)

    assert (watch.until, watch.since) == (DAY_S, None)
    assert watch.verdict(EVERY_S).state is DriftState.INSUFFICIENT
