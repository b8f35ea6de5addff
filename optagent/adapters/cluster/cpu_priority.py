"""How work behaves that may wait, beside a system that answers requests on the same cores."""

import contextlib
import os
from pathlib import Path

_NICENESS = 10
_AUTOGROUP, _LEAST = Path("/proc/self/autogroup"), "19"


def lower_priority(niceness: int = _NICENESS) -> None:
    """Has this thread, and those that it starts, run only where no other work wants the core.

    Being nice alone lets a request wait for the rest of the turn of whoever computes, some milliseconds; idle work is
    interrupted at once (sched(7), SCHED_IDLE). Where Linux groups processes by session (sched(7), autogroups), both
    count within a group only: so this process gets a session of its own, whose group is the least. Linux only;
    elsewhere it is nice.
    """
    if niceness <= 0:
        return
    os.nice(niceness)
    with contextlib.suppress(OSError):  # a container may forbid it
        if _AUTOGROUP.exists():
            _lead_a_session()
            _AUTOGROUP.write_text(_LEAST, encoding="ascii")
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _lead_a_session() -> None:
    """No leader of a process group may, and Ray's workers lead one each: they join that of their parent before."""
    if os.getsid(0) == os.getpid():
        return
    if os.getpgrp() == os.getpid():
        os.setpgid(0, os.getpgid(os.getppid()))
    os.setsid()
