"""Queue order: the turn of a process that waits for a free place, and the part of the queue that is seen at a time.

Urgency is a head start in time: a process for a decaying model goes ahead of all that were submitted in the two hours
before it, and a process that a person submitted goes one hour ahead of scheduled runs and backtests. So every process
starts in the end.
"""

from dataclasses import dataclass

from optagent.domain.policy import Trigger
from optagent.domain.process import Process

_URGENT_S, _ASKED_S = 7200.0, 3600.0
_DECAYS = (Trigger.DEGRADATION, Trigger.CONCEPT_DRIFT, Trigger.DRIFT, Trigger.CONFIDENCE)


def turn_of(process: Process) -> float:
    """The time of creation less the head start, POSIX seconds: of two that wait, the earlier one starts first."""
    return process.created_at - _head_start_s(process)


def _head_start_s(process: Process) -> float:
    trigger = process.command.get("trigger", Trigger.MANUAL)
    if trigger in _DECAYS:
        return _URGENT_S
    return _ASKED_S if trigger == Trigger.MANUAL and process.kind != "backtest" else 0.0


@dataclass(frozen=True, slots=True)
class QueueHead:
    """The processes that a look at the queue decides about.

    `running` are all that have a runner. `waiting` begins with the process that starts next; those that were asked to
    stop while they wait are in `stopping` instead.
    """

    running: tuple[Process, ...] = ()
    waiting: tuple[Process, ...] = ()
    stopping: tuple[Process, ...] = ()
