"""A gateway is seen by other processes of its machine as long as its process lives."""

import secrets
import subprocess
import sys

import pytest

from optagent.adapters.cluster.gateway_mark import has_gateway, mark_gateway

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gateways are marked on Linux only")

HOLDER = """
import sys
from optagent.adapters.cluster.gateway_mark import mark_gateway
with mark_gateway(sys.argv[1]):
    print("marked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def name() -> str:
    """Another one than that of gateways, of which some may run on this machine."""
    return f"test-{secrets.token_hex(8)}"


def test_a_gateway_is_seen_from_its_start_to_the_end_of_the_last(name: str) -> None:
    assert not has_gateway(name)
    with mark_gateway(name):
        with mark_gateway(name):
            assert has_gateway(name)
        assert has_gateway(name)
    assert not has_gateway(name)


def test_a_gateway_that_is_killed_is_seen_no_more(name: str) -> None:
    command = [sys.executable, "-c", HOLDER, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "marked\n"
        assert has_gateway(name)
        holder.kill()
    assert not has_gateway(name)


def test_a_name_that_only_begins_alike_is_another(name: str) -> None:
    with mark_gateway(f"{name}s"):
        assert not has_gateway(name)
