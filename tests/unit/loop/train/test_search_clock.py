"""A search ends in time for the steps that follow it, and not before it has a score."""

from typing import Any

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.domain.process import Process, Status
from optagent.domain.study import Trial, TrialState
from optagent.loop.process import Run
from optagent.loop.train.search_clock import SearchClock
from optagent.training.time_shares import LEAST_FINISH_S, AfterSearch
from tests.unit.training.test_time_shares import PROBLEM, STUDY


class Prepared:
    """The rows of a search, as far as its clock looks at them."""

    problem = PROBLEM


class Seconds:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def a_run(seconds: Seconds, limit_s: float | None) -> Run:
    clock = ManualClock(0.0)
    run = Run(
        Process("p", "tune", "m", Status.RUNNING, 0.0, 0.0), InMemoryStore(clock), clock, lambda progress: None, seconds
    )
    run.limit_time(limit_s, began_at=0.0)
    return run


def a_clock(run: Run) -> SearchClock:
    prepared: Any = Prepared()
    return SearchClock(STUDY, prepared, AfterSearch(fits=2), run)


def trained(seconds: float, score: float | None = 0.5) -> Trial:
    state = TrialState.COMPLETE if score is not None else TrialState.FAILED
    return Trial(0, "linear", {}, state, score, units=81, duration_s=seconds)


def test_it_ends_when_the_trainings_and_the_end_need_what_is_left(seconds):
    run = a_run(seconds, 60.0)
    seconds.now = 12.0
    run.set_end_aside()  # as much
    clock = a_clock(run)
    clock.record(trained(6.0))  # two trainings on all rows take 2 s each
    seconds.now = 43.9
    assert not clock.is_over()
    seconds.now = 44.0
    assert clock.is_over()


def test_without_a_score_it_takes_of_the_time_of_the_end(seconds):
    run = a_run(seconds, 60.0)
    seconds.now = 50.0
    run.set_end_aside()
    clock = a_clock(run)
    clock.record(trained(1.0, score=None))
    seconds.now = 60.0 - LEAST_FINISH_S - 0.1
    assert run.left_s() == 0.0
    assert not clock.is_over()
    seconds.now = 60.0 - LEAST_FINISH_S
    assert clock.is_over()


def test_a_search_without_a_limit_is_never_over(seconds):
    run = a_run(seconds, None)
    run.set_end_aside()
    clock = a_clock(run)
    clock.record(trained(6.0))
    seconds.now = 1e9
    assert not clock.is_over()
