"""Work that may wait gives way, also where Linux groups processes by session."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import os
from optagent.adapters.cluster.cpu_priority import lower_priority
lower_priority({niceness})
print(os.sched_getscheduler(0) == os.SCHED_IDLE, os.getsid(0) == os.getpid(), open("/proc/self/autogroup").read())
"""


GROUPS = pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this system does not group processes by session"
)


def said(niceness: int, **started: Any) -> list[str]:
    script = SCRIPT.format(niceness=niceness)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, **started)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@GROUPS
@pytest.mark.parametrize(
    "started",
    [{}, {"process_group": 0}, {"start_new_session": True}],
    ids=["one of a group", "leader of a group", "leader of a session"],
)
def test_it_is_idle_in_the_least_group_of_its_own(started: dict[str, Any]) -> None:
    idle, own, *group = said(10, **started)
    assert [idle, own, *group[-2:]] == ["True", "True", "nice", "19"]


@GROUPS
def test_at_niceness_0_it_stays_as_it_is() -> None:
    idle, own, *group = said(0)
    assert [idle, own] == ["False", "False"]
    assert group[-2:] != ["nice", "19"]
