import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis, RedisEndpoint, read_endpoint
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import Unavailable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no embedded server for Windows")

USER = """
import sys
from pathlib import Path
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
sys.stdin.readline()
server = EmbeddedRedis(Path(sys.argv[1]))
print(server.endpoint.pid, flush=True)
sys.stdin.readline()
"""


class User:
    """A process that uses the embedded server of a home from `go` until it is killed or told to leave."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def go(self) -> None:
        self._say("go")

    def server_pid(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def leave(self) -> None:
        self._say("leave")
        self.process.wait(10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def _say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()


@pytest.fixture
def users(tmp_path: Path) -> Iterator[Callable[[], User]]:
    started: list[User] = []

    def user() -> User:
        started.append(User(tmp_path))
        return started[-1]

    yield user
    for one in started:
        one.kill()
        for pipe in (one.process.stdin, one.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


def eventually(claim: Callable[[], object], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if claim():
            return True
        time.sleep(0.02)
    return bool(claim())


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def gone(*processes: psutil.Process) -> bool:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if alive(process):
                return False
    return True


def server_and_supervisor(endpoint: RedisEndpoint) -> tuple[psutil.Process, psutil.Process]:
    server = psutil.Process(endpoint.pid)
    supervisor = server.parent()
    assert "embedded_redis_supervisor" in " ".join(supervisor.cmdline())
    return server, supervisor


def supervisors_of(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any("embedded_redis_supervisor" in word for word in words) and str(home / "redis") in words:
            found.append(process)
    return found


def a_model(model_id: str) -> ModelSpec:
    return ModelSpec(model_id, Task.BINARY, FileSource("rows.parquet"), "target")


def test_a_second_process_uses_the_running_server(tmp_path, users):
    with EmbeddedRedis(tmp_path) as server:
        user = users()
        user.go()
        assert user.server_pid() == server.endpoint.pid
        user.leave()
        assert server.endpoint.answers()


def test_a_server_outlives_the_process_that_started_it_while_another_uses_it(tmp_path, users):
    first, second = users(), users()
    first.go()
    pid = first.server_pid()
    second.go()
    assert second.server_pid() == pid
    first.kill()
    time.sleep(1)
    assert read_endpoint(tmp_path / "redis").answers()


def test_processes_that_start_at_the_same_instant_share_one_server(tmp_path, users):
    four = [users() for _ in range(4)]
    for user in four:
        user.go()
    assert len({user.server_pid() for user in four}) == 1
    assert len(supervisors_of(tmp_path)) == 1


def test_nothing_is_left_3_seconds_after_the_last_user_was_killed(tmp_path, users):
    user = users()
    user.go()
    user.server_pid()
    both = server_and_supervisor(read_endpoint(tmp_path / "redis"))
    user.kill()
    assert eventually(lambda: gone(*both), within_s=3)
    assert read_endpoint(tmp_path / "redis") is None


def test_even_a_hanging_server_is_gone_3_seconds_after_the_last_user(tmp_path, users):
    user = users()
    user.go()
    user.server_pid()
    server, supervisor = server_and_supervisor(read_endpoint(tmp_path / "redis"))
    server.suspend()
    user.kill()
    assert eventually(lambda: gone(server, supervisor), within_s=3)


def test_two_shares_of_one_process_are_given_back_one_by_one(tmp_path):
    first, second = EmbeddedRedis(tmp_path), EmbeddedRedis(tmp_path)
    both = server_and_supervisor(second.endpoint)
    first.close()
    first.close()
    time.sleep(0.5)
    assert second.endpoint.answers()
    second.close()
    assert eventually(lambda: gone(*both), within_s=3)


def test_a_child_process_does_not_keep_the_server_up(tmp_path):
    server = EmbeddedRedis(tmp_path)
    both = server_and_supervisor(server.endpoint)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    try:
        server.close()
        assert eventually(lambda: gone(*both), within_s=3)
    finally:
        child.kill()
        child.wait()


FORKS_AND_DIES = """
import os, sys, time
from pathlib import Path
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    os.close(0), os.close(1), os.close(2)
    time.sleep(60)
print(server.endpoint.pid, child, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), 9)
"""


def test_a_forked_child_does_not_keep_the_server_up(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORKS_AND_DIES, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    server_pid, child_pid = map(int, parent.stdout.readline().split())
    server, child = psutil.Process(server_pid), psutil.Process(child_pid)
    try:
        parent.communicate("die\n", timeout=10)
        assert eventually(lambda: gone(server), within_s=3)
        assert alive(child)
    finally:
        child.kill()


def test_the_next_server_has_the_data_of_the_last(tmp_path):
    with EmbeddedRedis(tmp_path) as server, Redis.from_url(server.url) as client:
        client.set("key", "value")
        first = psutil.Process(server.endpoint.pid)
    assert eventually(lambda: gone(first), within_s=3)
    with EmbeddedRedis(tmp_path) as server, Redis.from_url(server.url) as client:
        assert client.get("key") == b"value"


async def test_what_was_acknowledged_survives_kill_9_and_the_store_recovers_by_itself(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        store = RedisStore(server.url)
        acknowledged = []

        async def write() -> None:
            for number in range(100_000):
                await store.save_model(a_model(f"m{number}"))
                acknowledged.append(f"m{number}")

        writer = asyncio.create_task(write())
        for _ in range(3):
            seen = len(acknowledged)
            while len(acknowledged) < seen + 20:
                assert not writer.done()
                await asyncio.sleep(0.01)
            os.kill(read_endpoint(server.folder).pid, signal.SIGKILL)
        await store.check()
        writer.cancel()
        kept = {spec.model_id for spec in await store.models()}
        await store.close()
    assert len(acknowledged) >= 60
    assert set(acknowledged) <= kept


def test_a_killed_supervisor_takes_the_server_along_and_both_come_back_at_the_same_address(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        before = server.endpoint
        both = server_and_supervisor(before)
        with Redis.from_url(server.url) as client:
            client.set("key", "value")
            client.waitaof(1, 0, 3000)
        both[1].kill()
        assert eventually(lambda: gone(*both), within_s=3)
        assert eventually(lambda: (now := read_endpoint(server.folder)) and now.answers(), within_s=10)
        after = read_endpoint(server.folder)
        assert after.url == before.url
        assert after.pid != before.pid
        with Redis.from_url(server.url) as client:
            assert client.get("key") == b"value"


def test_only_the_owner_can_read_the_password(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((server.folder / "endpoint.json").stat().st_mode) == 0o600
        commands = [" ".join(process.cmdline()) for process in server_and_supervisor(server.endpoint)]
        assert not any(server.endpoint.password in command for command in commands)
        assert server.endpoint.password not in repr(server.endpoint)
        assert server.endpoint.password not in (server.folder / "server.log").read_text()


def test_the_server_refuses_a_wrong_password_and_none(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        for wrong in (f"redis://:wrong@127.0.0.1:{server.endpoint.port}", f"redis://127.0.0.1:{server.endpoint.port}"):
            with Redis.from_url(wrong) as client, pytest.raises(AuthenticationError):
                client.get("key")


def test_the_server_listens_on_the_loopback_interface_only(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(server.endpoint.pid).net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
    assert listening == ["127.0.0.1"]


def test_data_is_kept_in_an_append_only_file_synced_every_second(tmp_path):
    with EmbeddedRedis(tmp_path) as server, Redis.from_url(server.url) as client:
        assert client.config_get("append*") | {"appendonly": "yes", "appendfsync": "everysec"} == client.config_get(
            "append*"
        )


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A port on which something other than Redis listens, within the range that the server uses."""
    with socket.socket() as listener:
        for port in range(32_767, 20_000, -1):
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                break
        listener.listen()

        def refuse_politely() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.sendall(b"220 mail\r\n")
                    connection.close()

        threading.Thread(target=refuse_politely, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"host": "127.0.0.1"}',
        '{"host": "127.0.0.1", "port": "x", "password": 1, "pid": 1, "machine": ""}',
    ],
)
def test_a_damaged_endpoint_file_is_no_obstacle(tmp_path, content):
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "endpoint.json").write_text(content)
    with EmbeddedRedis(tmp_path) as server:
        assert server.endpoint.answers()


def test_an_endpoint_whose_process_is_dead_and_whose_port_is_taken_is_stale(tmp_path, echo_port):
    (tmp_path / "redis").mkdir()
    stale = RedisEndpoint("127.0.0.1", echo_port, "password", 2**22 - 1, socket.gethostname())
    stale.write(tmp_path / "redis")
    assert not stale.answers()
    with EmbeddedRedis(tmp_path) as server:
        assert server.endpoint.port != echo_port
        assert server.endpoint.answers()


def test_an_endpoint_left_by_a_machine_that_is_gone_is_stale(tmp_path):
    (tmp_path / "redis").mkdir()
    RedisEndpoint("127.0.0.1", 20_001, "password", 1, "a-container-of-yesterday").write(tmp_path / "redis")
    with EmbeddedRedis(tmp_path) as server:
        assert server.endpoint.machine == socket.gethostname()


def test_an_endpoint_file_with_a_wrong_password_is_put_right(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        replace(server.endpoint, password="wrong").write(server.folder)
        with EmbeddedRedis(tmp_path) as second:
            assert second.endpoint == server.endpoint


def test_a_server_of_another_machine_on_a_shared_disk_is_refused_by_name(tmp_path, monkeypatch):
    with EmbeddedRedis(tmp_path):
        monkeypatch.setattr(socket, "gethostname", lambda: "another-machine")
        with pytest.raises(Unavailable, match="another-machine"):
            EmbeddedRedis(tmp_path)


def test_a_home_that_cannot_be_written_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"file.*OPT_AGENT_REDIS_HOST"):
        EmbeddedRedis(tmp_path / "file")


def test_an_append_only_file_that_is_damaged_is_reported_at_once_with_the_reason(tmp_path):
    with EmbeddedRedis(tmp_path) as server, Redis.from_url(server.url) as client:
        for number in range(100):
            client.set(f"key{number}", "value")
    assert eventually(lambda: not supervisors_of(tmp_path), within_s=3)
    (log,) = (tmp_path / "redis" / "data").rglob("*.incr.aof")
    content = log.read_bytes()
    log.write_bytes(content[: len(content) // 2] + b"garbage\r\n" + content[len(content) // 2 :])
    started = time.monotonic()
    with pytest.raises(Unavailable, match="Bad file format"):
        EmbeddedRedis(tmp_path)
    assert time.monotonic() - started < 10
    assert eventually(lambda: not supervisors_of(tmp_path), within_s=3)


def test_a_platform_without_a_server_is_told_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    with pytest.raises(Unavailable, match=r"plan9.*OPT_AGENT_REDIS_HOST"):
        EmbeddedRedis(tmp_path)
