"""The coverage gate: sound candidates are seldom refused, and those whose intervals miss are, where labels are late."""

import pytest

from tests.performance.decisions.coverage_gate import refusals

RUNS = 50


@pytest.mark.parametrize("name", ["still", "memory", "weeks", "days", "bursts"])
def test_sound_candidates_are_seldom_refused_where_labels_come_at_once(name):
    assert refusals(RUNS, name, "once", 400) <= 0.04  # two of fifty, at one in a hundred: p = .09


@pytest.mark.parametrize(("rows", "jump"), [(400, 3.0), (400, 0.5), (2_000, 3.0)])
def test_candidates_whose_errors_change_before_labels_tell_are_refused(rows, jump):
    assert refusals(RUNS, "still", "week", rows, jump) >= 0.8


def test_what_labels_tell_in_time_is_no_reason_to_refuse():
    assert refusals(RUNS, "still", "once", 2_000, jump=3.0) == 0.0
