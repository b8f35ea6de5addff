"""A Ray head is recognised by its process, and free ports are found; no head is started here."""

import json
import socket

import psutil
import pytest

from optagent.adapters.cluster.free_ports import free_port, is_free
from optagent.adapters.cluster.head import RayHead
from optagent.adapters.cluster.serve_environment import serve_on_this_machine


def save_state(folder, **changes):
    """The state of a head whose process is this one."""
    own = psutil.Process()
    state = {"pid": own.pid, "started_at": own.create_time(), "address": "127.0.0.1:6379"}
    state |= {"dashboard": "http://127.0.0.1:8265", "scratch": str(folder / "scratch"), **changes}
    (folder / "head.json").write_text(json.dumps(state))


def test_a_head_is_known_by_its_process(tmp_path):
    assert RayHead(tmp_path).running() is None
    save_state(tmp_path)
    assert RayHead(tmp_path).running().address == "127.0.0.1:6379"


@pytest.mark.parametrize("changes", [{"pid": 2**22 + 1}, {"started_at": 1.0}])
def test_a_process_that_has_ended_or_is_another_one_is_no_head_and_is_not_ended(tmp_path, changes):
    save_state(tmp_path, **changes)
    (tmp_path / "scratch").mkdir()
    head = RayHead(tmp_path)
    assert head.running() is None
    assert head.stop() is False
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_state_that_cannot_be_read_is_none(tmp_path):
    (tmp_path / "head.json").write_text("{")
    assert RayHead(tmp_path).running() is None


def test_a_port_that_is_taken_is_not_given():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        assert free_port(port) != port
    assert is_free("127.0.0.1", port)


def test_the_sockets_of_haproxy_have_short_names(tmp_path):
    from pathlib import Path

    node, pid = "0" * 56, ".1234567.tmp"
    environment = serve_on_this_machine(Path("/tmp/optagent-up-abcdefgh"))
    for name in ("RAY_SERVE_HAPROXY_SOCKET_PATH", "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH"):
        path = Path(environment.get(name, "/tmp/none"))
        assert len(str(path.parent / node / path.name) + pid) < 108
