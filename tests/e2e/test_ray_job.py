"""`ray job submit` of the jobs against a head node that was started with `ray start`."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Jobs run in the environment of the head node, as on a real cluster."""
    home = tmp_path_factory.mktemp("home")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # the user's file may not be there yet
    return {**os.environ, "OPT_AGENT_HOME": str(home), "PATH": path, **ray}


@pytest.fixture(scope="module")
def dashboard(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, log = free_port(), tmp_path_factory.mktemp("log") / "head.log"
    # Ports of its own: other tests have clusters on this machine too.
    ports = [f"--port={free_port()}", f"--dashboard-port={port}", f"--dashboard-agent-listen-port={free_port()}"]
    ports += [f"--ray-client-server-port={free_port()}"]
    command = [str(RAY), "start", "--head", "--block", "--num-cpus=2", *ports]
    with log.open("w") as output:
        head = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        until = time.monotonic() + 90
        while "Ray runtime started" not in log.read_text():
            assert head.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(60)


def submit(dashboard: str, environment: dict[str, str], *job: str) -> subprocess.CompletedProcess[str]:
    """Asks again while nothing is submitted: a head node has started some seconds before it takes jobs."""
    command = [str(RAY), "job", "submit", "--address", dashboard, "--working-dir", ".", "--", "python", *job]
    until = time.monotonic() + 60
    while True:
        done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=280)
        if "submitted successfully" in done.stdout + done.stderr or time.monotonic() > until:
            return done


def test_a_job_tunes_a_model_on_the_cluster(dashboard, environment, churn, tmp_path):
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(churn))
    register = ("--register", str(tmp_path / "model.yaml"))
    done = submit(dashboard, environment, "-m", "optagent.jobs.tune", "--model", "churn", "--trials", "4", *register)
    assert done.returncode == 0, done.stdout + done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("{") and "process_id" in line)
    result = json.loads(line)
    assert (result["trials"], result["aliases"]) == (4, ["champion"])


def test_a_job_analyzes_files_a_window_a_task(dashboard, environment, make_rows, tmp_path):
    pq.write_table(make_rows(600, seed=7), tmp_path / "live.parquet")
    asked = ("--model", "churn", "--data", str(tmp_path / "live.parquet"), "--windows", "2", "--type", "drift")
    done = submit(dashboard, environment, "-m", "optagent.jobs.monitor", *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"model_id"')]
    assert [report["quality"]["rows"] for report in reports] == [300, 300, 600]
    assert reports[-1]["drift"]["status"] == "stable"
    assert reports[-1]["diagnosis"]["verdict"]


def test_a_job_for_an_unknown_model_fails_with_the_reason(dashboard, environment):
    done = submit(dashboard, environment, "-m", "optagent.jobs.tune", "--model", "nobody")
    assert done.returncode != 0
    assert "no model 'nobody'" in done.stdout + done.stderr
