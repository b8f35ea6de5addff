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
@pytest.mark.parametrize(
    ("niceness", "said"), [(10, ["True", "True", "nice", "19"]), (0, ["False", "False", "nice", "0"])]
)
def test_it_is_idle_in_the_least_group_of_its_own(niceness: int, said: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(niceness=niceness)], capture_output=True, text=True)
    idle, own, _, *rest = done.stdout.split()
    assert [idle, own, *rest] == said, done.stderr
