"""`optagent up --foreground`, as a container runs it: until a signal, and leaving nothing behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import pytest
from filelock import FileLock

from optagent.adapters.cluster.free_ports import free_port

pytestmark = pytest.mark.timeout(900)
_HEALTH = "/api/v1/optimization/health"


def wait_for_health(port: int, process: "subprocess.Popen[str]", log: Path) -> None:
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"http://127.0.0.1:{port}{_HEALTH}", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise AssertionError(f"not healthy in time: {log.read_text()}")


def test_a_signal_takes_down_all_that_the_foreground_started(tmp_path: Path) -> None:
    home, log, port = tmp_path / "home", tmp_path / "log", free_port()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"OPT_AGENT_HOME": str(home), "OPT_AGENT_API_PORT": str(port), "OPT_AGENT_NUM_CPUS": "2"}
    command = [sys.executable, "-m", "optagent.cli", "up", "--foreground"]
    with FileLock(Path(tempfile.gettempdir()) / "optagent-tests-up.lock", timeout=800), log.open("w") as output:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=output, stderr=output, text=True)
        try:
            wait_for_health(port, process, log)
            head = psutil.Process(json.loads((home / "up" / "head.json").read_text())["pid"])
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=180) == 0, log.read_text()
        finally:
            if process.poll() is None:
                process.kill()
            subprocess.run([*command[:3], "down"], env=environment, cwd=tmp_path, check=False, capture_output=True)
    assert not head.is_running() or head.status() == psutil.STATUS_ZOMBIE
    assert not (home / "up" / "head.json").exists()
    assert "token      oa_" in log.read_text(), "the first token is in the log of a container"
