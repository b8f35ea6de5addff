"""A deadline counts from the start of its command."""

import math

from optagent.domain.deadline import Deadline


def test_the_time_left_falls_to_zero_and_no_further():
    deadline = Deadline.after(60.0, began_at=100.0)
    assert [deadline.left_s(now) for now in (100.0, 145.0, 160.0, 1000.0)] == [60.0, 15.0, 0.0, 0.0]


def test_a_command_without_a_limit_has_time_for_ever():
    deadline = Deadline.after(None, began_at=100.0)
    assert not deadline.is_set
    assert deadline.left_s(1e9) == math.inf
    assert deadline.earlier_by(5.0).left_s(1e9) == math.inf


def test_what_is_set_aside_shortens_the_time_and_not_the_limit_that_errors_name():
    deadline = Deadline.after(60.0, began_at=0.0).earlier_by(5.0)
    assert (deadline.limit_s, deadline.left_s(50.0)) == (60.0, 5.0)
