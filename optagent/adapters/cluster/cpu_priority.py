"""The CPU priority of trials and replays: idle beside a gateway on the same machine, else nice."""

import contextlib
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from optagent.adapters.cluster.gateway_mark import has_gateway

_NICENESS = 10
_ATTEMPTS, _PAUSE_S = 20, 0.1
_AUTOGROUP = Path("/proc/self/autogroup")


@dataclass(frozen=True, slots=True)
class Priority:
    """The nice value of a thread, that of its process's autogroup (sched(7)), and `idle`: scheduled as SCHED_IDLE."""

    niceness: int
    group_niceness: int
    idle: bool


def choose_priority(niceness: int, beside_gateway: bool) -> Priority:
    """Beside a gateway: a core only where no other work wants it. Else a share of each core, however busy.

    Being nice alone lets a request wait for the rest of the turn of whoever computes, some milliseconds; idle work is
    interrupted at once (sched(7), SCHED_IDLE). But one process of nice 19 on each core all but stops idle work.

    Where Linux groups processes by session (sched(7), autogroups), nice values and idle scheduling count within a group
    only: a search took turns with Redis and HAProxy as an equal, and p99 beside it was 18 times as high, 2.2 times with
    a session of its own in the least group. Without a gateway the group keeps the weight of any other: a group of nice
    10 would get a tenth of a core beside one busy process of another session, whatever that one's nice value.
    """
    return Priority(niceness, group_niceness=19 if beside_gateway else 0, idle=beside_gateway)


def lower_priority(niceness: int = _NICENESS) -> None:
    """Lowers the priority of this thread, and of those that it starts, as far as a gateway on this machine asks for.

    Gateways come and go: it is called again before each piece of work. Other systems than Linux know nice values at
    most. A `niceness` of 0 leaves everything as it is.
    """
    if niceness > 0:
        set_priority(choose_priority(niceness, has_gateway()))


def set_priority(priority: Priority) -> None:
    """Sets it for this thread and those that it has started, as far as the system permits.

    Without privileges or RLIMIT_NICE, Linux lets no thread leave SCHED_IDLE: such a worker stays idle until it ends.
    """
    if not hasattr(os, "setpriority"):
        return
    # Ray's workers may be nice already: at 15, unless RAY_worker_niceness says otherwise.
    os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), priority.niceness))
    with contextlib.suppress(OSError):  # a container may forbid it
        _set_group(priority.group_niceness)
    if hasattr(os, "SCHED_IDLE") and (os.sched_getscheduler(0) == os.SCHED_IDLE) != priority.idle:
        _set_policy(os.SCHED_IDLE if priority.idle else os.SCHED_OTHER)


def _set_group(niceness: int) -> None:
    """Linux takes one such change in 100 ms from all unprivileged processes (EAGAIN), and a crew of workers starts at
    once: it is tried again for some 2 s, and at the next call."""
    if not _AUTOGROUP.exists():
        return
    _lead_a_session()
    for _ in range(_ATTEMPTS):
        if _AUTOGROUP.read_text(encoding="ascii").split()[-1:] == [str(niceness)]:
            return
        try:
            _AUTOGROUP.write_text(str(niceness), encoding="ascii")
        except BlockingIOError:
            time.sleep(random.uniform(0.5, 1.5) * _PAUSE_S)


def _lead_a_session() -> None:
    """No leader of a process group may, and Ray's workers lead one each: they join that of their parent before."""
    if os.getsid(0) == os.getpid():
        return
    if os.getpgrp() == os.getpid():
        os.setpgid(0, os.getpgid(os.getppid()))
    os.setsid()


def _set_policy(policy: int) -> None:
    """For each thread that is as nice as this one: threads of a pool have inherited that, Ray's have not."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    for thread in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(OSError):  # it has ended; a container, or the lack of privileges, forbids it
            if os.getpriority(os.PRIO_PROCESS, thread) == niceness:
                os.sched_setscheduler(thread, policy, os.sched_param(0))
