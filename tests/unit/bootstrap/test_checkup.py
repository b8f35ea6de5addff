"""Each check of `optagent doctor` tells a sound part from a broken one, and says what to do about it."""

import errno
import os
import socket
import threading
import time
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from optagent.adapters.cluster.free_ports import is_free
from optagent.adapters.cluster.ray_probe import RayProbe, read_probe
from optagent.adapters.state.redis.server_state import ServerState
from optagent.bootstrap.checkup import check_installation
from optagent.bootstrap.checkup.api import ask_health, check_api
from optagent.bootstrap.checkup.home import check_disk, check_home
from optagent.bootstrap.checkup.libraries import check_libraries, check_python
from optagent.bootstrap.checkup.ray import check_ray
from optagent.bootstrap.checkup.runner import run_checks
from optagent.bootstrap.checkup.store import check_redis, judge_clock, judge_server, look_at_configured
from optagent.bootstrap.checkup.tracking import check_mlflow
from optagent.domain.checkup import CheckLevel, CheckResult, ok
from optagent.errors import Unavailable
from optagent.settings import load_settings

SOUND = {"role": "master", "aof_enabled": 1, "maxmemory": 100, "maxmemory_policy": "noeviction", "redis_version": "8"}
Disk = namedtuple("Disk", "f_bavail f_frsize f_files f_favail")


def levels(results: list[CheckResult]) -> list[str]:
    return [str(result.level) for result in results]


@pytest.fixture
def listener():
    """A port on which another program listens, which answers nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def unreachable_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


# home and disk


def test_a_home_of_mode_0700_is_sound_and_one_open_to_others_is_a_warning(tmp_path: Path):
    tmp_path.chmod(0o700)
    assert check_home(tmp_path).level is CheckLevel.OK
    tmp_path.chmod(0o755)
    result = check_home(tmp_path)
    assert (result.level, result.remedy) == (CheckLevel.WARNING, f"chmod 700 {tmp_path}")


def test_a_home_that_is_not_there_is_sound_and_stays_so(tmp_path: Path):
    assert check_home(tmp_path / "a" / "b").level is CheckLevel.OK
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_home_is_a_fault(tmp_path: Path):
    def refuse(folder: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))

    result = check_home(tmp_path, refuse)
    assert result.level is CheckLevel.FAULT
    assert "Read-only file system" in result.message
    assert "OPT_AGENT_HOME" in result.remedy


def test_a_file_in_the_place_of_a_home_is_a_fault(tmp_path: Path):
    (tmp_path / "home").write_text("")
    assert check_home(tmp_path / "home").level is CheckLevel.FAULT


@pytest.mark.parametrize(
    ("disk", "level"),
    [
        (Disk(10_000_000, 4096, 10**6, 10**6), "ok"),
        (Disk(250_000, 4096, 10**6, 10**6), "warning"),
        (Disk(0, 4096, 10**6, 10**6), "fault"),
        (Disk(10_000_000, 4096, 10**6, 10), "fault"),
        (Disk(10_000_000, 4096, 0, 0), "ok"),
    ],
    ids=["room", "little", "full", "no more files", "a disk that does not count files"],
)
def test_the_room_on_the_disk_is_judged(tmp_path: Path, disk: Any, level: str):
    result = check_disk(tmp_path, lambda _: disk)
    assert result.level == level
    assert level == "ok" or "optagent prune" in result.remedy


# versions


def test_an_old_python_is_a_fault():
    assert check_python(">=3.11", "3.13.1").level is CheckLevel.OK
    assert check_python(">=3.11", "3.10.2").level is CheckLevel.FAULT
    assert check_python().level is CheckLevel.OK


def test_an_old_or_missing_library_is_named_with_the_command_that_installs_it():
    def version_of(name: str) -> str:
        if name == "gone":
            raise metadata.PackageNotFoundError(name)
        return "1.5"

    needs = ["old>=2", "new>=1.4,<2", "gone>=3", "elsewhere>=9; sys_platform == 'never'", "extra>=7; extra == 'demo'"]
    results = [each for each in check_libraries(needs, version_of) if each.name == "libraries"]
    messages = {result.message: result.remedy for result in results}
    assert messages == {
        "old is 1.5, optagent needs >=2": "pip install --upgrade 'old>=2'",
        "gone is not installed": "pip install 'gone>=3'",
        "extra is 1.5, optagent needs >=7": "pip install --upgrade 'extra>=7'",
    }


def test_an_extra_that_is_not_installed_is_no_fault():
    def version_of(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    core, extras = check_libraries(["sample>=7; extra == 'demo'"], version_of)
    assert (core.level, extras.level) == (CheckLevel.OK, CheckLevel.OK)
    assert "demo" in extras.message
    assert "pip install 'optagent[" in extras.message


def test_the_libraries_of_this_environment_fit():
    assert set(levels(check_libraries())) == {"ok"}


# ports


def test_a_free_port_is_sound():
    assert levels(check_api("127.0.0.1", unreachable_port(), is_tls=False, is_up=False, is_free=is_free)) == [
        "ok",
        "ok",
    ]


def test_a_port_of_another_program_is_a_fault_that_names_the_setting(listener: int):
    (result,) = check_api("127.0.0.1", listener, is_tls=False, is_up=False, is_free=is_free, ask=lambda url: None)
    assert result.level is CheckLevel.FAULT
    assert "taken by" in result.message
    assert "OPT_AGENT_API_PORT" in result.remedy


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ({"status": "ok", "parts": {"redis": "ok"}}, ["ok", "ok"]),
        ({"status": "down", "parts": {"redis": "down"}}, ["ok", "fault"]),
    ],
)
def test_a_port_of_ours_is_sound_and_its_health_is_told(listener: int, health: Any, expected: list[str]):
    results = check_api("127.0.0.1", listener, is_tls=False, is_up=True, is_free=is_free, ask=lambda url: health)
    assert levels(results) == expected


def test_an_api_that_does_not_answer_is_a_fault_of_ours(listener: int):
    (result,) = check_api("127.0.0.1", listener, is_tls=False, is_up=True, is_free=is_free, ask=lambda url: None)
    assert (result.name, result.remedy) == ("serve", "optagent down, then optagent up")


def test_nothing_at_an_address_has_no_health():
    assert ask_health(f"http://127.0.0.1:{unreachable_port()}/") is None


# Redis and its clock


def test_a_stopped_redis_is_a_fault_that_names_the_settings():
    url = f"redis://127.0.0.1:{unreachable_port()}/0"
    (result,) = check_redis(lambda: look_at_configured(url), "redis")
    assert result.level is CheckLevel.FAULT
    assert "does not answer" in result.message
    assert "OPT_AGENT_REDIS_HOST" in result.remedy


def test_an_embedded_server_that_does_not_run_is_sound():
    assert levels(check_redis(lambda: None, "the embedded server")) == ["ok", "ok"]


def test_a_server_that_keeps_everything_is_sound():
    assert levels(check_redis(lambda: ServerState(SOUND, 0.1), "redis")) == ["ok", "ok"]


@pytest.mark.parametrize(
    ("change", "level", "message"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "fault", "evicts keys"),
        ({"aof_enabled": 0}, "warning", "no append-only file"),
        ({"aof_last_write_status": "err"}, "fault", "cannot write its append-only file"),
        ({"used_memory": 95}, "warning", "95% of its memory limit"),
        ({"role": "slave"}, "fault", "replica"),
    ],
)
def test_a_server_that_may_lose_records_is_named(change: dict[str, Any], level: str, message: str):
    (result,) = judge_server({**SOUND, **change}, "redis")
    assert (str(result.level), message in result.message, bool(result.remedy)) == (level, True, True)


@pytest.mark.parametrize(("ahead_s", "level"), [(0.5, "ok"), (-5.0, "warning"), (300.0, "fault")])
def test_clocks_that_differ_are_told(ahead_s: float, level: str):
    assert judge_clock(ahead_s).level == level


# MLflow and Ray


def test_an_mlflow_that_does_not_answer_is_a_fault_with_its_reason():
    def refuse() -> None:
        raise Unavailable("MLflow at http://tracking: no connection")

    result = check_mlflow(refuse, "http://tracking")
    assert (result.level, "OPT_AGENT_MLFLOW_TRACKING_URI" in result.remedy) == (CheckLevel.FAULT, True)
    assert check_mlflow(lambda: None, "http://tracking").level is CheckLevel.OK


ANSWERED = RayProbe(has_ray=True, cores=4, free=1, task_s=0.25)


def test_ray_may_be_absent_and_a_closed_port_is_a_fault(listener: int):
    def refuse(address: str) -> RayProbe:
        raise AssertionError(f"{address} was asked")

    assert check_ray(None, None, refuse).level is CheckLevel.OK
    result = check_ray(f"127.0.0.1:{unreachable_port()}", None, refuse)
    assert (result.level, "ray start --head" in result.remedy) == (CheckLevel.FAULT, True)
    own = check_ray(None, f"127.0.0.1:{unreachable_port()}", refuse)
    assert (own.level, own.remedy) == (CheckLevel.FAULT, "optagent down, then optagent up")


def test_a_cluster_that_does_an_empty_task_is_sound_wherever_it_is(listener: int):
    asked: list[str] = []

    def answer(address: str) -> RayProbe:
        asked.append(address)
        return ANSWERED

    for address, running in ((f"127.0.0.1:{listener}", None), (None, f"127.0.0.1:{listener}"), ("auto", None)):
        assert "an empty task in 0.2 s; 4 cores, 1 free" in check_ray(address, running, answer).message
    assert asked == [f"127.0.0.1:{listener}", f"127.0.0.1:{listener}", "auto"]


@pytest.mark.parametrize(
    ("probe", "level", "words"),
    [
        (RayProbe(), CheckLevel.WARNING, "Ray was not loaded within 15 s"),
        (RayProbe(has_ray=True), CheckLevel.FAULT, "no program is let in within 15 s"),
        (RayProbe(has_ray=True, error="Version mismatch"), CheckLevel.FAULT, "refuses: Version mismatch"),
        (RayProbe(has_ray=True, cores=0), CheckLevel.FAULT, "no core"),
        (RayProbe(has_ray=True, cores=2, free=2), CheckLevel.FAULT, "(2 cores, 2 free) has not done an empty task"),
    ],
)
def test_a_cluster_that_takes_no_work_is_told_by_the_step_that_hangs(probe: RayProbe, level: CheckLevel, words: str):
    result = check_ray("auto", None, lambda address: probe)
    assert (result.level, words in result.message, bool(result.remedy)) == (level, True, True)


def test_a_probe_is_what_its_program_printed_whatever_else_is_there():
    lines = ["2026-12-01 INFO worker.py", '{"has_ray": true}', '{"cores": 2, "free": 1}', '{"task_s": 0.5}', "{"]
    assert read_probe(lines) == RayProbe(True, 2, 1, 0.5)
    assert read_probe(lines[:2]) == RayProbe(True)


# all together


def test_a_check_that_hangs_is_a_fault_within_the_limit_and_holds_up_no_other():
    release = threading.Event()

    def hang() -> CheckResult:
        release.wait(60)
        return ok("slow", "late")

    began = time.monotonic()
    checkup = run_checks({"slow": hang, "fast": lambda: ok("fast", "here")}, limit_s=0.2)
    release.set()
    assert time.monotonic() - began < 30
    assert [(result.name, str(result.level)) for result in checkup.results] == [("slow", "fault"), ("fast", "ok")]


def test_a_check_that_raises_is_a_fault_of_its_own():
    def break_down() -> CheckResult:
        raise RuntimeError("no such thing")

    (result,) = run_checks({"broken": break_down}).results
    assert (result.level, "no such thing" in result.message) == (CheckLevel.FAULT, True)


def test_a_fresh_installation_has_no_faults_and_nothing_is_made(tmp_path: Path):
    settings = load_settings(home=str(tmp_path / "home"), api_port=unreachable_port())
    checkup = check_installation(settings, limit_s=60)
    assert {result.name for result in checkup.results if result.level is CheckLevel.FAULT} <= {"disk"}
    assert not (tmp_path / "home").exists()
