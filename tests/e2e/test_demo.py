"""The demo as a user runs it: the fast one to its end, a second one beside it, and one that is stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from filelock import FileLock

pytestmark = pytest.mark.timeout(2400)

ENDS_WITHIN_S = 1200  # a minute on two free cores
STARTS_WITHIN_S = 120


@pytest.fixture(autouse=True)
def turn() -> Iterator[None]:
    """One product at a time on a machine, as in the other tests that bring one up."""
    with FileLock(Path(tempfile.gettempdir()) / "optagent-tests-up.lock").acquire(timeout=800):
        yield


def start_demo(home: Path, *options: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONUNBUFFERED": "1", "OPT_AGENT_REDIS_HOST": "redis.invalid"}  # which a demo leaves alone
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "optagent.cli", "demo", "--fast", "--no-browser", "--home", str(home), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # As in a terminal, where SIGINT is not ignored, also where a shell has put the tests into the background.
    return subprocess.Popen(command, env=environment, cwd=home, text=True, preexec_fn=listen_to_ctrl_c, **pipes)


def listen_to_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def url_of_page(demo: "subprocess.Popen[str]") -> str:
    """The address that the demo says first."""
    assert demo.stderr is not None
    for line in demo.stderr:
        if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
            return address[0]
    raise AssertionError("the demo ended without a page")


def test_the_loop_trains_a_model_while_the_endpoint_answers(tmp_path: Path) -> None:
    demo = start_demo(tmp_path / "home", "--json")
    try:
        url = url_of_page(demo)
        assert "no point yet" in requests.get(url, timeout=30).text
        other = start_demo(tmp_path / "home")
        refused = other.communicate(timeout=STARTS_WITHIN_S)[1]
        assert other.returncode == 2
        assert "another demo is running" in refused
        output, errors = demo.communicate(timeout=ENDS_WITHIN_S)
    finally:
        demo.kill()
    assert demo.returncode == 0, errors
    result = json.loads(output)
    assert result["models_trained"] >= 1
    assert len(set(result["slots"].values())) > 1
    assert result["failed_requests"] == 0
    assert result["predictions"] > 500
    assert result["audit_broken"] is None
    assert "kept good by nobody" in Path(result["report"]).read_text(encoding="utf-8")
    assert not (Path(result["home"]) / "up" / "head.json").exists()


def test_a_demo_that_is_stopped_takes_down_what_it_has_started(tmp_path: Path) -> None:
    demo = start_demo(tmp_path / "home")
    try:
        head = tmp_path / "home" / "demo" / "up" / "head.json"
        give_up = time.monotonic() + STARTS_WITHIN_S
        while not head.exists():
            assert time.monotonic() < give_up
            time.sleep(0.1)
        process = psutil.Process(json.loads(head.read_text())["pid"])
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=ENDS_WITHIN_S)
    finally:
        demo.kill()
    assert demo.returncode == 130, errors
    assert not process.is_running()
    assert not head.exists()
