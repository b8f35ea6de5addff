"""Trials and replays are idle work beside a gateway and nice otherwise, also where Linux groups them by session."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from optagent.adapters.cluster.cpu_priority import Priority, choose_priority

SCRIPT = """
import json, os, sys, threading
from optagent.adapters.cluster import cpu_priority

def state():
    # Linux shows nothing of a process that is in no autogroup, as one whose session is older than autogroups.
    group = open("/proc/self/autogroup").read() if os.path.exists("/proc/self/autogroup") else ""
    return {
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "idle": os.sched_getscheduler(0) == os.SCHED_IDLE,
        "leads": os.getsid(0) == os.getpid(),
        "group": int((group.split() or [0])[-1]),
    }

niceness, gateways, before = json.loads(sys.argv[1])
os.nice(before)
states, work = [], threading.Event()
for beside_gateway in gateways:
    cpu_priority.has_gateway = lambda: beside_gateway
    cpu_priority.lower_priority(niceness)
    states.append(state())
    if len(states) == 1:
        pool = threading.Thread(target=lambda: (work.wait(), states.append(state())))
        pool.start()
work.set()
pool.join()
print(json.dumps(states))
"""

LINUX = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="this system has no idle scheduling")
SWITCH = Path("/proc/sys/kernel/sched_autogroup_enabled")
GROUPS = pytest.mark.skipif(
    not SWITCH.exists() or SWITCH.read_text() != "1\n", reason="this system does not group processes by session"
)
STARTS = pytest.mark.parametrize(
    "started",
    [{}, {"process_group": 0}, {"start_new_session": True}],
    ids=["one of a group", "leader of a group", "leader of a session"],
)


def states_of(*gateways: bool, niceness: int = 10, before: int = 0, **started: Any) -> list[dict[str, Any]]:
    """The state of a process after each call, beside a gateway or not; the last is that of a thread that it started
    after the first call, at the end."""
    command = [sys.executable, "-c", SCRIPT, json.dumps([niceness, gateways, before])]
    done = subprocess.run(command, capture_output=True, text=True, **started)
    assert done.returncode == 0, done.stderr
    states: list[dict[str, Any]] = json.loads(done.stdout)
    return states


def test_beside_a_gateway_it_is_idle_in_the_least_group_and_else_nice_in_a_group_like_any_other() -> None:
    assert choose_priority(10, beside_gateway=True) == Priority(10, group_niceness=19, idle=True)
    assert choose_priority(10, beside_gateway=False) == Priority(10, group_niceness=0, idle=False)


@LINUX
@pytest.mark.parametrize("beside_gateway", [True, False])
def test_its_process_and_the_threads_that_it_starts_are_scheduled_so(beside_gateway: bool) -> None:
    for state in states_of(beside_gateway):
        assert (state["nice"], state["idle"]) == (10, beside_gateway)


@GROUPS
@STARTS
@pytest.mark.parametrize(("beside_gateway", "niceness"), [(True, 19), (False, 0)])
def test_its_session_is_its_own(started: dict[str, Any], beside_gateway: bool, niceness: int) -> None:
    state, _ = states_of(beside_gateway, **started)
    assert (state["leads"], state["group"]) == (True, niceness)


@LINUX
def test_a_gateway_that_comes_later_makes_it_idle_with_its_threads() -> None:
    first, then, thread = states_of(False, True)
    assert [state["idle"] for state in (first, then, thread)] == [False, True, True]


@LINUX
def test_once_the_gateway_is_gone_it_is_nice_again_with_its_threads() -> None:
    first, then, thread = states_of(True, False)
    if then["idle"]:
        pytest.skip("only a privileged process may leave idle scheduling")
    assert [(state["nice"], state["idle"]) for state in (first, then, thread)] == [(10, True), (10, False), (10, False)]


@LINUX
def test_it_is_as_nice_as_it_was_where_that_is_nicer_however_often_it_is_asked() -> None:
    assert [state["nice"] for state in states_of(False, False, before=15)] == [15] * 3
    assert [state["nice"] for state in states_of(False, False, before=0)] == [10] * 3


@LINUX
def test_at_niceness_0_it_stays_as_it_is() -> None:
    state, _ = states_of(True, niceness=0)
    assert (state["nice"], state["idle"], state["leads"]) == (0, False, False)
