"""How work behaves that may wait, beside a system that answers requests on the same cores."""

import contextlib
import os

_NICENESS = 10


def give_way(niceness: int = _NICENESS) -> None:
    """Has this thread, and those that it starts, run only where no other work wants the core.

    Being nice alone lets a request wait for the rest of the turn of whoever computes, some milliseconds; idle work is
    interrupted at once (sched(7), SCHED_IDLE). Linux only; elsewhere it is nice.
    """
    if niceness <= 0:
        return
    os.nice(niceness)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
