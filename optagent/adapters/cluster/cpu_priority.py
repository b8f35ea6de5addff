"""CPU priority of trials and replays: idle beside a gateway on the same machine, nice elsewhere."""

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
    """The priority of work: beside a gateway only cores that are otherwise idle, else a share of each core.

    If work is only nice, a request waits for the rest of its turn on the core, some milliseconds; idle work is
    interrupted at once (sched(7), SCHED_IDLE). But one process of nice 19 on each core all but stops idle work.

    Where Linux groups processes by session (sched(7), autogroups), nice values and idle scheduling count within a group
    only: a search took turns with Redis and HAProxy as an equal, and p99 beside it was 18 times as high, 2.2 times with
    a session of its own in the least group. Without a gateway the group keeps the weight of any other: a group of nice
    10 would get a tenth of a core beside one busy process of another session, whatever that one's nice value.
    """
    return Priority(niceness, group_niceness=19 if beside_gateway else 0, idle=beside_gateway)


def lower_priority(niceness: int = _NICENESS) -> None:
    """Lowers the priority of this thread and of those that it starts, further where a gateway runs on this machine.

    It is called before each piece of work, since gateways come and go. Systems other than Linux have at most nice
    values. A `niceness` of 0 changes nothing.
    """
    if niceness > 0:
        set_priority(choose_priority(niceness, has_gateway()))


def set_priority(priority: Priority) -> None:
    """Sets the priority of this thread and those that it has started, as far as the system permits.

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
    """Sets the nice value of the autogroup, with retries for some 2 s: Linux allows one such change in 100 ms for all
    unprivileged processes (EAGAIN), and a pool of workers starts at once. The next call tries again."""
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
    """Makes this process the leader of a session. The leader of a process group may not become one, and each of Ray's
    workers leads a group, so it joins the group of its parent first."""
    if os.getsid(0) == os.getpid():
        return
    if os.getpgrp() == os.getpid():
        os.setpgid(0, os.getpgid(os.getppid()))
    os.setsid()


def _set_policy(policy: int) -> None:
    """Sets the policy of each thread that is as nice as this one: a pool's threads inherit niceness, Ray's do not."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    for thread in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(OSError):  # it has ended; a container, or the lack of privileges, forbids it
            if os.getpriority(os.PRIO_PROCESS, thread) == niceness:
                os.sched_setscheduler(thread, policy, os.sched_param(0))
