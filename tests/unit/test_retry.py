"""Pauses that grow, and steps that are tried again."""

from itertools import islice

import pytest

from optagent.errors import Conflict, Unavailable
from optagent.retry import GrowingPauses, retry_unavailable


class Step:
    """Fails `failures` times before it answers."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.tries = 0
        self._failures = failures
        self._error = error or Unavailable("Redis is away")

    async def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self._failures:
            raise self._error
        return "done"


def test_pauses_double_up_to_the_longest_for_ever():
    pauses = GrowingPauses(0.5, 30.0)
    assert list(islice(pauses, 8)) == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert list(islice(pauses, 5000))[-1] == 30


def test_pauses_begin_anew_after_a_success():
    pauses = GrowingPauses(0.5, 30.0)
    assert [next(pauses) for _ in range(3)] == [0.5, 1, 2]
    pauses.restart()
    assert [next(pauses) for _ in range(2)] == [0.5, 1]


def test_no_pause_is_longer_than_the_longest():
    assert list(islice(GrowingPauses(7200.0, 3600.0), 2)) == [3600, 3600]
    assert list(islice(GrowingPauses(1.0, factor=10), 4)) == [1, 10, 100, 1000]


async def test_a_step_is_tried_until_what_it_needs_is_there():
    step, told = Step(failures=3), []
    assert await retry_unavailable(step, GrowingPauses(0.0), told.append) == "done"
    assert (step.tries, [str(error) for error in told]) == (4, ["Redis is away"] * 3)


async def test_the_last_failure_is_raised_once_the_pauses_have_run_out():
    step = Step(failures=9)
    with pytest.raises(Unavailable, match="Redis is away"):
        await retry_unavailable(step, (0.0, 0.0))
    assert step.tries == 3


async def test_any_other_error_is_raised_at_once():
    step = Step(failures=1, error=Conflict("another has it"))
    with pytest.raises(Conflict):
        await retry_unavailable(step, GrowingPauses(0.0))
    assert step.tries == 1
