"""Cluster of a Ray job, found by the processes above it."""

import subprocess
import sys

from optagent.adapters.cluster.job_cluster import find_job_cluster

FIND = "from optagent.adapters.cluster.job_cluster import find_job_cluster; print(find_job_cluster())"
RUN = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[-1]], check=True)"


def test_a_job_finds_the_cluster_of_the_node_that_started_it():
    inner = f"import subprocess, sys; subprocess.run(['sh', '-c', sys.executable + ' -c \"{FIND}\"'], check=True)"
    node = [sys.executable, "-c", RUN, "--gcs-address=10.0.0.3:6379", inner]
    other = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[2:], check=True)"]
    done = subprocess.run([*other, "--gcs-address=10.0.0.4:6379", *node], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "10.0.0.3:6379", "the nearest node, not the one above it"


def test_a_process_that_no_node_started_is_no_job():
    assert find_job_cluster() is None
