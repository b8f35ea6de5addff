"""A process moves forward, remembers its events, and never moves again once it has ended."""

import pytest

from optagent.domain.process import Process, Status
from optagent.errors import Conflict

PENDING = Process("tune-1", "tune", "churn", Status.PENDING, 1.0, 1.0)


def test_each_move_is_an_event_and_progress_is_not():
    process = PENDING.with_event(2.0, "started", status=Status.RUNNING).with_event(3.0, "stage", stage="search")
    process = process.with_progress(4.0, {"trials_done": 3})
    assert [(event.at, event.kind) for event in process.history] == [(2.0, "started"), (3.0, "stage")]
    assert (process.stage, process.updated_at, process.progress["trials_done"]) == ("search", 4.0, 3)
    assert PENDING.history == ()


def test_an_ended_process_never_moves_again():
    ended = PENDING.with_event(2.0, "failed", status=Status.FAILED, error="no rows")
    assert ended.history[-1].detail == {"error": "no rows"}
    with pytest.raises(Conflict, match="process tune-1 has failed already"):
        ended.with_event(3.0, "started", status=Status.RUNNING)
