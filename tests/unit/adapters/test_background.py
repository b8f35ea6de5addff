"""Work that may wait gives way, also where Linux groups processes by session."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os
from optagent.adapters.cluster.background import give_way
give_way({niceness})
print(os.sched_getscheduler(0) == os.SCHED_IDLE, os.getsid(0) == os.getpid(), open("/proc/self/autogroup").read())
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this system does not group processes by session")
@pytest.mark.parametrize("gives_way", [True, False])
def test_it_is_idle_in_the_least_group_of_its_own(gives_way: bool) -> None:
    script = SCRIPT.format(niceness=10 if gives_way else 0)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    idle, own, *group = done.stdout.split()
    assert [idle, own] == [str(gives_way)] * 2, done.stderr
    assert (group[-2:] == ["nice", "19"]) == gives_way
